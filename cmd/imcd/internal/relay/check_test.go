package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"imcd/evapi"
)

func TestUDPAddr(t *testing.T) {
	for uri, want := range map[string]string{
		"sip:127.0.0.1:5070": "127.0.0.1:5070", "sip:h.example": "h.example:5060",
		"sip:[::1]:5061;transport=UDP": "[::1]:5061",
		"sip:h:5060;transport=tcp":     "", "sips:h": "", "": "", "nonsense": "",
	} {
		if got, err := udpAddr(uri); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", uri, got, err, want)
		}
	}
}

func TestCause(t *testing.T) {
	for want, err := range map[string]error{
		CauseRefused: fmt.Errorf("connect: %w", syscall.ECONNREFUSED),
		CauseSilent:  fmt.Errorf("welcome: %w", os.ErrDeadlineExceeded),
		CauseOther:   errors.New("EOF"),
	} {
		if got, text := cause(err); got != want || text == "" {
			t.Errorf("%v is %q, not %q", err, got, want)
		}
	}
	if got, text := cause(nil); got != CauseOther || text == "" {
		t.Errorf("nil is %q: %q", got, text)
	}
}

// TestCheckRefused: two Kamailios that are not there are both named, and a check
// that is over leaves nothing behind.
func TestCheckRefused(t *testing.T) {
	var cfgs []evapi.Config
	for range 2 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		cfgs = append(cfgs, evapi.Config{Addr: ln.Addr().String(), Secret: "x"})
		ln.Close()
	}
	g, err := New(cfgs, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	rooms := &counter{}
	g.Serve(rooms)
	g.Start(rooms)
	defer g.Stop()
	for i, p := range g.Check(context.Background(), "") {
		if p.Kamailio != cfgs[i].Addr || p.Connected || p.Cause != CauseRefused {
			t.Errorf("%+v", p)
		}
	}
	callID, message, result, end := g.probes.begin()
	for range 3 {
		if !g.probes.result(evapi.Result{CallID: callID, Code: 200}) {
			t.Error("the probe's result is not its own")
		}
	}
	if r := <-result; r.Code != 200 || len(message) != 0 {
		t.Errorf("%+v", r)
	}
	end()
	g.Result(nil, evapi.Result{CallID: callID})
	if n := rooms.results.Load(); n != 1 {
		t.Errorf("%d results reached the rooms, not the one after the end", n)
	}
}
