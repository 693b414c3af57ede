package evapi_test

import (
	"fmt"
	"log"
	"strings"

	"imcd/evapi"
)

// parrot answers each message with 200 and sends its text back.
type parrot struct{}

func (parrot) Message(m *evapi.Message) {
	if m.Err != nil {
		_ = m.Conn.Reply(m.Tx, evapi.Answer{Code: 400, Reason: "Bad Request", RC: -400})
		return
	}
	_ = m.Conn.Reply(m.Tx, evapi.Answer{Code: 200, Reason: "OK", RC: 1})
	out, err := evapi.NewOutgoing(evapi.Content{From: "<" + m.RURI + ">", Body: m.Request.Body()})
	if err == nil {
		err = m.Conn.Send(evapi.Copy{Out: out, To: m.Request.From().Address.String(),
			CallID: m.Request.CallID().Value() + "-echo"})
	}
	if err != nil {
		log.Print(err)
	}
}

func (parrot) Up(_ *evapi.Conn, w evapi.Welcome)          { log.Print("Kamailio ", w.Version) }
func (parrot) Down(_ *evapi.Conn, err error)              { log.Print(err) }
func (parrot) Result(_ *evapi.Conn, r evapi.Result)       { log.Print(r.CallID, " ", r.Code) }
func (parrot) Registered(*evapi.Conn, evapi.Registration) {}
func (parrot) Receipt(*evapi.Receipt)                     {}
func (parrot) Call(*evapi.Call)                           {}

// A program that sends each message back to its sender.
func Example() {
	c, err := evapi.NewConn(evapi.Config{Addr: "127.0.0.1:8448", Secret: "engine-secret"}, parrot{})
	if err != nil {
		log.Fatal(err)
	}
	c.Start()
	defer c.Stop()
}

func ExampleNewOutgoing() {
	out, err := evapi.NewOutgoing(evapi.Content{From: "<sip:chat-a@example.org>", Body: []byte("al> hello")})
	if err != nil {
		log.Fatal(err)
	}
	for part := range strings.SplitSeq(string(out.Frame("sip:bob@example.org", "1@imcd")), ",") {
		fmt.Println(part)
	}
	// Output:
	// {"jsonrpc":"2.0"
	// "method":"tm.t_uac_start"
	// "params":["MESSAGE"
	// "sip:bob@example.org"
	// ""
	// "."
	// "From: <sip:chat-a@example.org>\r\nTo: <sip:bob@example.org>\r\nCall-ID: 1@imcd\r\nContent-Type: text/plain\r\n"
	// "al> hello"]
	// "id":0}
}
