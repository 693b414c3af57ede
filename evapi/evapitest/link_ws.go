package evapitest

import (
	"time"

	"github.com/gorilla/websocket"
)

// wsWire is a WebSocket connection (RFC 7118). It is closed without a closing frame.
type wsWire struct{ *websocket.Conn }

func openWS(local, proxy string, receive func([]byte)) (link, error) {
	d := websocket.Dialer{
		NetDialContext:   dialer(local).DialContext,
		HandshakeTimeout: 5 * time.Second,
		Subprotocols:     []string{"sip"},
	}
	return openStream(func() (wire, error) {
		conn, res, err := d.Dial("ws://"+proxy, nil)
		if err != nil {
			return nil, err
		}
		res.Body.Close()
		return wsWire{conn}, nil
	}, receive)
}

func (w wsWire) read() ([]byte, error) {
	for {
		_, data, err := w.ReadMessage()
		if err != nil || len(data) > 4 { // what is shorter is a keep-alive
			return data, err
		}
	}
}

func (w wsWire) write(data []byte) error { return w.WriteMessage(websocket.TextMessage, data) }
