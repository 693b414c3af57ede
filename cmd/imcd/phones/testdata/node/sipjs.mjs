// SIP.js: node sipjs.mjs WS-SERVER URI PASSWORD
import { execute, emit, server, uri, password } from './driver.mjs'
import { Messager, Registerer, RegistererState, UserAgent } from 'sip.js'

const me = UserAgent.makeURI(uri)
const ua = new UserAgent({
  uri: me,
  displayName: 'Frank of SIP.js',
  authorizationUsername: me.user,
  authorizationPassword: password,
  transportOptions: { server, connectionTimeout: 5 },
  logLevel: 'warn',
  delegate: {
    // SIP.js leaves it to the application to connect again.
    onDisconnect: error => { if (error) connect() },
    onMessage: message => {
      const { request } = message
      emit({
        from: request.from.uri.toString(),
        name: request.from.displayName || '',
        type: request.getHeader('Content-Type'),
        text: request.body
      })
      message.accept()
    }
  }
})
const registerer = new Registerer(ua)
const register = () => registerer.register({ requestDelegate: { onAccept: () => emit({ registered: true }) } })
registerer.stateChange.addListener(state => {
  if (state === RegistererState.Unregistered) emit({ registered: false })
})

function connect () {
  ua.reconnect().then(register, () => setTimeout(connect, 500))
}

execute({
  say: ({ id, to, text, type }) => {
    const done = response => emit({ said: id, code: response.message.statusCode })
    new Messager(ua, UserAgent.makeURI(to), text, type)
      .message({ requestDelegate: { onAccept: done, onReject: done } })
      .catch(error => emit({ said: id, code: 0, why: String(error) }))
  },
  register,
  unregister: () => registerer.unregister()
})
await ua.start()
await register()
