// Command echobot is a member of chat rooms that says back what it hears: an
// example of a bot on imcd's WebSocket. The configuration names it:
//
//	bots: sip:echo@example.org
//
//	go run ./testdata/echobot -name sip:echo@example.org sip:chat-garden@example.org
package main

import (
	"encoding/json"
	"flag"
	"log"
	"net/http"
	"os"

	"github.com/gorilla/websocket"
)

// message is a request, an answer or an imc.deliver.
type message struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  any             `json:"params,omitempty"`
	Result  any             `json:"result,omitempty"`
	Error   any             `json:"error,omitempty"`
}

type heard struct {
	Room   string `json:"room"`
	Notice bool   `json:"notice"` // the room speaks, not a member
	Body   string `json:"body"`
	Base64 bool   `json:"base64"` // Body is not text
}

func main() {
	url := flag.String("url", "ws://127.0.0.1:8450/ws", "imcd's WebSocket")
	name := flag.String("name", "sip:echo@example.org", "who the bot is")
	flag.Parse()
	header := http.Header{}
	if token := os.Getenv("IMCD_RPC_TOKEN"); token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	ws, _, err := websocket.DefaultDialer.Dial(*url, header)
	if err != nil {
		log.Fatal(err)
	}
	write := func(m message) {
		m.Version = "2.0"
		if err := ws.WriteJSON(m); err != nil {
			log.Fatal(err)
		}
	}
	ask := func(method string, params any) {
		write(message{ID: json.RawMessage("1"), Method: method, Params: params})
	}
	say := func(room, text string) { ask("imc.bot_say", map[string]string{"room": room, "text": text}) }

	ask("imc.bot", map[string]string{"name": *name})
	for _, room := range flag.Args() {
		ask("imc.bot_command", map[string]string{"room": room, "command": "#join"})
	}
	for {
		var h heard
		m := message{Params: &h}
		if err := ws.ReadJSON(&m); err != nil {
			log.Fatal(err)
		}
		if m.Error != nil {
			log.Print(m.Error)
		}
		if m.Method != "imc.deliver" {
			continue
		}
		if !h.Notice && !h.Base64 {
			say(h.Room, h.Body)
		}
		// What is not acknowledged comes again: to echo twice is better than never.
		write(message{ID: m.ID, Result: true})
	}
}
