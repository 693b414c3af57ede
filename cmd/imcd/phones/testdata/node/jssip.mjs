// JsSIP: node jssip.mjs WS-SERVER URI PASSWORD
import { execute, emit, server, uri, password } from './driver.mjs'
import JsSIP from 'jssip'

const ua = new JsSIP.UA({
  sockets: [new JsSIP.WebSocketInterface(server)],
  uri,
  password,
  display_name: 'Eve of JsSIP',
  connection_recovery_min_interval: 1,
  connection_recovery_max_interval: 1
})
ua.on('registered', () => emit({ registered: true }))
ua.on('unregistered', () => emit({ registered: false }))
ua.on('newMessage', ({ originator, request }) => {
  if (originator !== 'remote') return
  emit({
    from: request.from.uri.toString(),
    name: request.from.display_name || '',
    type: request.getHeader('Content-Type'),
    text: request.body
  })
})
execute({
  say: ({ id, to, text, type }) => ua.sendMessage(to, text, {
    contentType: type,
    eventHandlers: {
      succeeded: e => emit({ said: id, code: e.response.status_code }),
      failed: e => emit({ said: id, code: e.response ? e.response.status_code : 0, why: e.cause })
    }
  }),
  register: () => ua.register(),
  unregister: () => ua.unregister()
})
ua.start()
