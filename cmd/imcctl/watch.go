package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
	"github.com/spf13/cobra"

	"imcd/evapi/jsonrpc"
)

// watchRetry is the wait before a lost connection is made again.
const watchRetry = time.Second

// idleLimit is how long a connection may be silent: imcd pings more often.
const idleLimit = time.Minute

// watch is one call of imcctl watch.
type watch struct {
	*tool
	http   string
	rooms  []string
	events []string
	bodies bool
	count  int // events to print; 0: no end
}

func (t *tool) watchCommand() *cobra.Command {
	w := &watch{tool: t}
	cmd := &cobra.Command{Use: "watch [ROOM…]", GroupID: groupLook,
		Short: "What happens, as it happens: messages, joins, failures, Kamailios",
		Long: `Prints what happens until Ctrl-C, of all rooms or of those that are named; * stands
for anything. It asks imcd's HTTP port (--http) and connects again by itself.`,
		Example: "  imcctl watch 'chat-dev*'\n  imcctl watch --events failure,kamailio --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			w.rooms = args
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return w.run(ctx, cmd.ErrOrStderr())
		}, ValidArgsFunction: t.completeRoom}
	f := cmd.Flags()
	f.StringVar(&w.http, "http", "",
		"`host:port` of imcd's HTTP port, or its URL (default that of the configuration, else "+defaultHTTP+")")
	f.StringSliceVar(&w.events, "events", nil,
		"only these: message, join, leave, role, room_created, room_destroyed, failure, kamailio")
	f.BoolVar(&w.bodies, "bodies", false, "show what is written, if imcd allows it (event_bodies)")
	f.IntVarP(&w.count, "number", "n", 0, "end after so many events")
	return cmd
}

// run prints events until ctx ends, or enough have come. Only the first
// connection must succeed.
func (w *watch) run(ctx context.Context, stderr io.Writer) error {
	for first := true; ; first = false {
		ws, err := w.connect(ctx)
		if err != nil && first {
			return err
		}
		if err == nil {
			err = w.follow(ctx, ws)
			_ = ws.Close()
		}
		if err == nil || ctx.Err() != nil {
			return nil
		}
		fmt.Fprintf(stderr, "imcctl: %s; connecting again\n", oneLine(err.Error()))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchRetry):
		}
	}
}

// connect opens the WebSocket and subscribes.
func (w *watch) connect(ctx context.Context) (*websocket.Conn, error) {
	known, err := w.installed()
	if err != nil {
		return nil, err
	}
	at := cmp.Or(w.http, known.http)
	token, err := w.token(known, at == known.http)
	if err != nil {
		return nil, err
	}
	w.asking = true
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	ws, res, err := websocket.DefaultDialer.DialContext(ctx, socketURL(at), header)
	if err != nil {
		return nil, w.explain(refusedSocket(at, res, err))
	}
	_ = res.Body.Close()
	if err := w.subscribe(ws); err != nil {
		_ = ws.Close()
		return nil, err
	}
	return ws, nil
}

func socketURL(at string) string {
	if scheme, rest, ok := strings.Cut(at, "://"); ok {
		return strings.Replace(scheme, "http", "ws", 1) + "://" + strings.TrimRight(rest, "/") + "/ws"
	}
	return "ws://" + at + "/ws"
}

// refusedSocket says why there is no WebSocket at an address.
func refusedSocket(at string, res *http.Response, err error) error {
	if res == nil {
		return hint(err, "is imcd running with http_listen "+at+"?")
	}
	_ = res.Body.Close()
	if res.StatusCode == http.StatusUnauthorized {
		return errors.New("imcd wants its token: --token-file FILE or $" + tokenEnv)
	}
	return fmt.Errorf("no WebSocket at %s: %s", at, res.Status)
}

func (w *watch) subscribe(ws *websocket.Conn) error {
	params := map[string]any{"bodies": w.bodies}
	if len(w.events) > 0 {
		params["events"] = w.events
	}
	if len(w.rooms) > 0 {
		params["rooms"] = w.rooms
	}
	if err := ws.SetWriteDeadline(time.Now().Add(w.timeout)); err != nil {
		return err
	}
	if err := ws.SetReadDeadline(time.Now().Add(w.timeout)); err != nil {
		return err
	}
	if err := ws.WriteJSON(map[string]any{"jsonrpc": "2.0", "id": 1, "method": "imc.subscribe",
		"params": params}); err != nil {
		return fmt.Errorf("asking for events: %w", err)
	}
	_, answer, err := ws.ReadMessage()
	if err != nil {
		return fmt.Errorf("asking for events: %w", err)
	}
	r, err := jsonrpc.DecodeResponse(answer)
	if err != nil {
		return err
	}
	if r.Error != nil {
		return plain(r.Error)
	}
	return nil
}

// follow prints events. Nil: enough have come.
func (w *watch) follow(ctx context.Context, ws *websocket.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = ws.NetConn().Close() })
	defer stop()
	alive := func() error { return ws.SetReadDeadline(time.Now().Add(idleLimit)) }
	pong := ws.PingHandler()
	ws.SetPingHandler(func(data string) error {
		if err := alive(); err != nil {
			return err
		}
		return pong(data)
	})
	for {
		if err := alive(); err != nil {
			return err
		}
		_, b, err := ws.ReadMessage()
		if err != nil {
			return fmt.Errorf("the connection to imcd was lost: %w", err)
		}
		if err := w.print(b); err != nil {
			return err
		}
		if w.count == 1 {
			return nil
		}
		w.count = max(0, w.count-1)
	}
}

func (w *watch) print(b []byte) error {
	var n struct{ Params json.RawMessage }
	if err := json.Unmarshal(b, &n); err != nil {
		return fmt.Errorf("event: %w", err)
	}
	if w.json {
		return w.printRaw(n.Params)
	}
	var e event
	if err := json.Unmarshal(n.Params, &e); err != nil {
		return fmt.Errorf("event: %w", err)
	}
	_, err := fmt.Fprintf(w.out, "%s  %-14s  %-28s  %s\n", e.Time.Local().Format(time.TimeOnly), e.Event, safe(e.Room),
		safe(e.text()))
	return err
}

// event is the params of imc.event.
type event struct {
	Event       string    `json:"event"`
	Time        time.Time `json:"time"`
	Room        string    `json:"room"`
	Sender      string    `json:"sender"`
	User        string    `json:"user"`
	Member      string    `json:"member"`
	By          string    `json:"by"`
	Seq         uint64    `json:"seq"`
	ContentType string    `json:"content_type"`
	Size        int       `json:"size"`
	Body        *string   `json:"body"`
	Base64      bool      `json:"base64"`
	Role        string    `json:"role"`
	Private     bool      `json:"private"`
	Code        int       `json:"code"`
	Reason      string    `json:"reason"`
	Outcome     string    `json:"outcome"`
	Kamailio    string    `json:"kamailio"`
	Up          bool      `json:"up"`
}

// text describes the event.
func (e *event) text() string {
	by := ""
	if e.By != "" && e.By != e.User {
		by = " by " + e.By
	}
	say, ok := map[string]func() string{
		"message": func() string {
			what := fmt.Sprintf("%d bytes of %s", e.Size, orPlain(e.ContentType))
			if e.Body != nil && !e.Base64 {
				what = *e.Body
			}
			return "#" + strconv.FormatUint(e.Seq, 10) + " " + e.Sender + ": " + what
		},
		"join":  func() string { return e.User + " as " + e.Role + by },
		"leave": func() string { return e.User + by },
		"role":  func() string { return e.User + " is " + e.Role + by },
		"room_created": func() string {
			if e.Private {
				return "private" + by
			}
			return strings.TrimSpace(e.User + by)
		},
		"room_destroyed": func() string { return strings.TrimSpace(by) },
		"failure": func() string {
			return fmt.Sprintf("#%d to %s: %d %s (%s)", e.Seq, e.Member, e.Code, e.Reason, e.Outcome)
		},
		"kamailio": func() string {
			if e.Up {
				return e.Kamailio + " connected"
			}
			return e.Kamailio + " lost"
		},
	}[e.Event]
	if !ok {
		return ""
	}
	return say()
}

func orPlain(contentType string) string {
	if contentType == "" {
		return "text/plain"
	}
	return contentType
}
