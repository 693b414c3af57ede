package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"imcd/engine"
	"imcd/evapi"
	"imcd/evapi/jsonrpc"
	"imcd/evapi/netstring"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeRooms answers every query with err, or with what the query was about.
type fakeRooms struct {
	err  error
	done *string // the last action; nil: nobody looks
}

func (f fakeRooms) Rooms(context.Context) ([]engine.RoomInfo, error) {
	return []engine.RoomInfo{}, f.err
}
func (f fakeRooms) Overview(context.Context) ([]engine.RoomSummary, error) {
	return []engine.RoomSummary{}, f.err
}
func (f fakeRooms) Members(_ context.Context, room string) (engine.MemberList, error) {
	return engine.MemberList{Room: room, Members: []string{}}, f.err
}
func (f fakeRooms) RoomActive(context.Context, string) (bool, error)         { return true, f.err }
func (f fakeRooms) RoomMember(context.Context, string, string) (bool, error) { return true, f.err }
func (f fakeRooms) Stats(context.Context) (engine.Stats, error)              { return engine.Stats{}, f.err }
func (f fakeRooms) RoomState(context.Context, string) (engine.RoomDetail, error) {
	return engine.RoomDetail{}, f.err
}
func (f fakeRooms) FindRooms(_ context.Context, name string) ([]string, error) {
	return []string{name}, f.err
}
func (f fakeRooms) RoomSettings(context.Context, string) ([]engine.SettingInfo, error) {
	return []engine.SettingInfo{}, f.err
}
func (f fakeRooms) UserDevices(_ context.Context, user, _ string) ([]engine.UserDevice, error) {
	return []engine.UserDevice{{Device: user}}, f.err
}
func (f fakeRooms) UserRooms(_ context.Context, user string) ([]engine.UserRoom, error) {
	return []engine.UserRoom{{Room: user}}, f.err
}
func (f fakeRooms) Acts(_ context.Context, room string, n int) ([]engine.ActInfo, error) {
	return []engine.ActInfo{}, f.did("acts %s %d", room, n)
}
func (f fakeRooms) UserActs(_ context.Context, user string, n int) ([]engine.ActInfo, error) {
	return []engine.ActInfo{}, f.did("acts on %s %d", user, n)
}
func (f fakeRooms) Pending(context.Context, string) ([]engine.PendingRoom, error) { return nil, f.err }

func listen(t *testing.T, maxConns int, rooms Rooms) *Listener {
	t.Helper()
	return listenToken(t, "", maxConns, rooms)
}

func listenToken(t *testing.T, token string, maxConns int, rooms Rooms) *Listener {
	t.Helper()
	l, err := Listen("127.0.0.1:0", token, maxConns, jsonrpc.NewServer(Methods(rooms)), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	l.Start()
	t.Cleanup(l.Stop)
	return l
}

func dial(t *testing.T, l *Listener) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return nc
}

// frames reads n answers.
func frames(t *testing.T, nc net.Conn, n int) []string {
	t.Helper()
	r := netstring.NewReader(nc, 1<<20)
	var got []string
	for range n {
		b, err := r.Read()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(b))
	}
	return got
}

const statsCall = `{"jsonrpc":"2.0","id":7,"method":"imc.stats"}`

func TestPipelinedCalls(t *testing.T) {
	nc := dial(t, listen(t, 2, fakeRooms{}))
	one := netstring.Append(nil, []byte(statsCall))
	if _, err := nc.Write(bytes.Repeat(one, 20)); err != nil {
		t.Fatal(err)
	}
	for _, got := range frames(t, nc, 20) {
		if !strings.Contains(got, `"active_rooms":0`) {
			t.Errorf("answer is %s", got)
		}
	}
}

// TestTooManyConnections: the client over the limit learns that, and a place that
// becomes free is free for the next.
func TestTooManyConnections(t *testing.T) {
	l := listen(t, 1, fakeRooms{})
	first := dial(t, l)
	if _, err := first.Write(netstring.Append(nil, []byte(statsCall))); err != nil {
		t.Fatal(err)
	}
	frames(t, first, 1) // it has its place
	if got := frames(t, dial(t, l), 1)[0]; !strings.Contains(got, "too many connections") {
		t.Errorf("the second client got %s", got)
	}
	_ = first.Close()
	deadline := time.Now().Add(time.Minute)
	for {
		nc := dial(t, l)
		if _, err := nc.Write(netstring.Append(nil, []byte(statsCall))); err == nil {
			if got := frames(t, nc, 1)[0]; strings.Contains(got, "active_rooms") {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("the place was never free again")
		}
	}
}

// TestGarbageEndsConnection: what is no netstring, or too long, is not answered.
func TestGarbageEndsConnection(t *testing.T) {
	l := listen(t, 8, fakeRooms{})
	for _, garbage := range []string{"GET / HTTP/1.1\r\n\r\n", "99999999999:", "01:a,", "1:ab",
		fmt.Sprintf("%d:", maxRequest+1)} {
		nc := dial(t, l)
		if _, err := nc.Write([]byte(garbage)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1)
		if n, err := nc.Read(b); n != 0 || err == nil {
			t.Errorf("%q got an answer", garbage)
		}
	}
}

func TestStopEndsConnections(t *testing.T) {
	l := listen(t, 4, fakeRooms{})
	nc := dial(t, l)
	if _, err := nc.Write(netstring.Append(nil, []byte(statsCall))); err != nil {
		t.Fatal(err)
	}
	frames(t, nc, 1)
	l.Stop()
	if n, err := nc.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error("the connection is still open")
	}
}

// TestErrorCodes: callers see what they did wrong, and nothing of what went
// wrong inside.
func TestErrorCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
		says string
	}{
		{fmt.Errorf("%w: sip:x@y", engine.ErrNoRoom), codeUnknownRoom, "sip:x@y"},
		{fmt.Errorf("%w: x", engine.ErrBadName), jsonrpc.CodeInvalidParams, "bad URI"},
		{fmt.Errorf("%w: bob", engine.ErrNoUser), codeUnknownUser, "bob"},
		{&engine.Refused{Code: 403, Reason: "Room is full"}, codeRefused, "full"},
		{&engine.Refused{Code: 413, Reason: "Message too large"}, jsonrpc.CodeInvalidParams, "large"},
		{&engine.Refused{Code: 503, Reason: "Overloaded"}, codeBusy, "Overloaded"},
		{fmt.Errorf("asking: %w", context.DeadlineExceeded), codeBusy, "try again"},
		{errors.New("the password is hunter2"), jsonrpc.CodeInternalError, ""},
	} {
		answer := jsonrpc.NewServer(Methods(fakeRooms{err: c.err})).Handle(t.Context(),
			[]byte(`{"jsonrpc":"2.0","id":1,"method":"imc.list_members","params":["x"]}`))
		var got struct{ Error jsonrpc.Error }
		if err := json.Unmarshal(answer, &got); err != nil {
			t.Fatal(err)
		}
		if got.Error.Code != c.code || !strings.Contains(got.Error.Message, c.says) || strings.Contains(got.Error.Message,
			"hunter2") {
			t.Errorf("%v is reported as %s", c.err, answer)
		}
	}
}

// TestPoolRefusesOverflow: the reader that brings a request never waits.
func TestPoolRefusesOverflow(t *testing.T) {
	conn, err := evapi.NewConn(evapi.Config{Addr: "127.0.0.1:1", Secret: "x"}, noHandler{})
	if err != nil {
		t.Fatal(err)
	}
	p := NewPool(jsonrpc.NewServer(Methods(fakeRooms{})), zerolog.Nop()) // not started: nothing is taken out
	buf := []byte(statsCall)
	for range callQueue + 10 {
		p.Call(&evapi.Call{Conn: conn, Tag: "t", JSON: buf})
	}
	if len(p.queue) != callQueue {
		t.Errorf("%d requests are queued, want %d", len(p.queue), callQueue)
	}
	clear(buf) // the reader uses its buffer again
	if q := <-p.queue; string(q.JSON) != statsCall {
		t.Errorf("the queued request is %q", q.JSON)
	}
	p.Start()
	p.Stop()
}

func TestErrorResponseKeepsID(t *testing.T) {
	for request, id := range map[string]string{
		`{"jsonrpc":"2.0","id":"a\"b","method":"x"}`: `"id":"a\"b"`,
		`{"jsonrpc":"2.0","method":"x"}`:             `"id":null`,
		`[1,2`:                                       `"id":null`,
	} {
		got := errorResponse([]byte(request), codeBusy, `too "many"`)
		if !json.Valid(got) || !bytes.Contains(got, []byte(id)) {
			t.Errorf("%s: %s", request, got)
		}
	}
}

// noHandler takes what a Conn reports and does nothing.
type noHandler struct{}

func (noHandler) Up(*evapi.Conn, evapi.Welcome)              {}
func (noHandler) Down(*evapi.Conn, error)                    {}
func (noHandler) Message(*evapi.Message)                     {}
func (noHandler) Result(*evapi.Conn, evapi.Result)           {}
func (noHandler) Receipt(*evapi.Receipt)                     {}
func (noHandler) Registered(*evapi.Conn, evapi.Registration) {}
func (noHandler) Call(*evapi.Call)                           {}
