// A user agent is driven by lines of JSON. Commands come on standard input:
//   {"do":"say","id":1,"to":"sip:…","text":"…","type":"text/plain"}
//   {"do":"register"} {"do":"unregister"}
// Events go to standard output:
//   {"registered":true} {"said":1,"code":200}
//   {"from":"sip:…","name":"…","type":"text/plain","text":"…"}
import { createInterface } from 'node:readline'
import WebSocket from 'ws'

globalThis.WebSocket = WebSocket

export const emit = event => process.stdout.write(JSON.stringify(event) + '\n')

// commands has a function for each word of "do".
export function execute (commands) {
  createInterface({ input: process.stdin })
    .on('line', line => {
      const c = JSON.parse(line)
      commands[c.do](c)
    })
    .on('close', () => process.exit(0))
}

export const [, , server, uri, password] = process.argv
