// Package check walks the whole way that a chat message takes, and says in words
// where it ends and how to mend that: configuration, database, imcd, each
// Kamailio, the hello, a copy out through Kamailio and a request in. It changes
// nothing; it answers its own messages, and they reach no user.
package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"imcd/cmd/imcd/internal/config"
	"imcd/cmd/imcd/internal/relay"
	"imcd/cmd/imcd/internal/rpc"
	"imcd/evapi"
	"imcd/evapi/jsonrpc"
	"imcd/schema"
)

// Status is how a check ended.
type Status string

// The values of Status.
const (
	OK   Status = "ok"
	Warn Status = "warn"
	Fail Status = "FAIL"
)

// Line is the result of one check.
type Line struct {
	Check  string `json:"check"`
	Status Status `json:"status"`
	Text   string `json:"text"`             // what was seen
	Remedy string `json:"remedy,omitempty"` // what to do; empty if all is well
}

// Options of the checks.
type Options struct {
	File    string   // imcd.yaml; empty: environment and defaults only
	Environ []string // as os.Environ gives it
	RPC     string   // host:port of imcd; empty: rpc_listen of the configuration
	Token   string   // of imcd; empty: rpc_token of the configuration
	SIP     string   // host:port of Kamailio's SIP over UDP; empty: port 5060 where its evapi is
	Room    string   // SIP URI to write to; empty: a room that there is
}

// Deadlines of the steps.
const (
	databaseWait = 5 * time.Second
	askWait      = 3 * time.Second
	pathsWait    = 20 * time.Second
	helloWait    = 2 * time.Second // of a connection that the check makes itself
	optionsWait  = 2 * time.Second
)

// run is one run of the checks.
type run struct {
	Options
	cfg   *config.Config
	print func(Line)
	fails int
}

// Run makes all checks and hands each result to print as it comes. It reports
// whether any failed.
func Run(ctx context.Context, o Options, print func(Line)) (failed bool) {
	r := &run{Options: o, print: print}
	if !r.configuration() {
		return true
	}
	r.database(ctx)
	paths, ok := r.askImcd(ctx)
	if ok && paths == nil {
		paths = r.ownPaths(ctx)
	}
	for _, p := range paths {
		r.kamailio(ctx, p)
	}
	return r.fails > 0
}

func (r *run) say(check string, status Status, text, remedy string) {
	if status == Fail {
		r.fails++
	}
	one := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	r.print(Line{Check: check, Status: status, Text: one(text), Remedy: one(remedy)})
}

func (r *run) configuration() bool {
	name := r.File
	if name == "" {
		name = "environment and defaults (no file was named)"
	}
	if r.Room != "" {
		uri, err := rpc.PlainURI(r.Room)
		if err != nil {
			r.say("configuration", Fail, "--room: "+err.Error(), "Give a room as sip:name@domain.")
			return false
		}
		r.Room = uri
	}
	var err error
	if r.cfg, err = config.Load(config.Sources{File: r.File, Environ: r.Environ}); err != nil {
		r.say("configuration", Fail, err.Error(), `Mend that setting; "imcd -print-config" explains all of them.`)
		return false
	}
	r.say("configuration", OK, name, "")
	for _, w := range r.cfg.Warnings {
		r.say("configuration", Warn, w, "Take the right to read it from others.")
	}
	return true
}

// database reports whether imcd's tables are there.
func (r *run) database(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, databaseWait)
	defer cancel()
	found, err := schema.Inspect(ctx, r.cfg.DB.URL, schema.Options{RoomsTable: r.cfg.DB.RoomsTable,
		MembersTable: r.cfg.DB.MembersTable})
	switch {
	case errors.Is(err, schema.ErrNoFile):
		r.say("database", Warn, found.Target+" does not exist yet",
			"imcd makes it when it starts. If it should be there, look at db_url and state_dir.")
		return false
	case errors.Is(err, schema.ErrUnfit):
		r.say("database", Fail, err.Error(), "imcd does not start before that is changed.")
		return false
	case err != nil:
		r.say("database", Fail, err.Error(),
			"Is the database server running? Try db_url of the configuration with psql: address, user, password, name.")
		return false
	}
	r.say("database", OK, found.Target, "")
	if len(found.Missing) == 0 {
		r.say("tables", OK, fmt.Sprintf("all %d are there", len(found.Tables)), "")
		return true
	}
	r.say("tables", Fail, "missing: "+strings.Join(found.Missing, ", "),
		"imcd makes them when it starts: restart it, with a database user that may create tables. If they should be "+
			"there, look at db_url, rooms_table and members_table.")
	return false
}

// askImcd lets the running imcd try its ways. No paths, but ok: there is none.
func (r *run) askImcd(ctx context.Context) (paths []relay.Path, ok bool) {
	addr := r.rpcAddr()
	if addr == "" {
		r.say("imcd", Warn, "rpc_listen is empty, so it cannot be asked", "Set rpc_listen, or give --rpc.")
		return nil, false
	}
	client, err := r.dial(ctx, addr)
	if refused := new(jsonrpc.Error); errors.As(err, &refused) {
		r.say("imcd", Fail, refused.Message, "Use the configuration that the running imcd has.")
		return nil, false
	}
	if err != nil {
		r.say("imcd", Fail, "it does not answer at "+addr+" ("+err.Error()+"); the rest is tried in its place",
			"Start it, and look at the end of its log if it does not stay.")
		return nil, true
	}
	defer client.Close()
	if !r.fleet(ctx, client) {
		return nil, false
	}
	var stats struct {
		Rooms      int  `json:"active_rooms"`
		DatabaseOK bool `json:"database_ok"`
	}
	if err := call(ctx, client, askWait, "imc.stats", nil, &stats); err != nil {
		r.say("imcd", Fail, err.Error(), "Restart it.")
		return nil, false
	}
	if !stats.DatabaseOK {
		r.say("imcd", Fail, "its last commit failed: it answers everything 503",
			"It goes on by itself when the database is back.")
	} else if stats.Rooms == 1 {
		r.say("imcd", OK, "runs with 1 room", "")
	} else {
		r.say("imcd", OK, fmt.Sprintf("runs with %d rooms", stats.Rooms), "")
	}
	params := []string{}
	if r.Room != "" {
		params = append(params, r.Room)
	}
	if err := call(ctx, client, pathsWait, "imc.check", params, &paths); err != nil {
		r.say("imcd", Fail, err.Error(), "Restart it; it may be of an older version than imcctl.")
		return nil, false
	}
	return paths, true
}

func call(ctx context.Context, c *jsonrpc.Client, wait time.Duration, method string, params, result any) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return c.Call(ctx, method, params, result)
}

func (r *run) dial(ctx context.Context, addr string) (*jsonrpc.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	token := r.Token
	if token == "" {
		token = r.cfg.Access.Token
	}
	return evapi.Dial(ctx, addr, token)
}

// rpcAddr is where imcd should answer; a port of all addresses is asked on
// loopback.
func (r *run) rpcAddr() string {
	if r.RPC != "" {
		return r.RPC
	}
	host, port, err := net.SplitHostPort(r.cfg.RPC.Listen)
	if err != nil {
		return r.cfg.RPC.Listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// ownPaths tries the ways in the place of an imcd that does not run.
func (r *run) ownPaths(ctx context.Context) []relay.Path {
	ctx, cancel := context.WithTimeout(ctx, pathsWait)
	defer cancel()
	var kamailios []evapi.Config
	for _, k := range r.cfg.Kamailios {
		k.DialTimeout = helloWait
		kamailios = append(kamailios, k)
	}
	g, err := relay.New(kamailios, zerolog.Nop())
	if err != nil {
		r.say("kamailio", Fail, err.Error(), "Mend evapi or evapi_secret in the configuration.")
		return nil
	}
	g.Refuse(retryLater)
	g.Serve(deaf{})
	g.Start(deaf{})
	defer g.Stop()
	return g.Check(ctx, r.Room)
}

// retryLater is the Retry-After of users who write to a room while the check stands in
// for imcd.
const retryLater = 5 * time.Second

// deaf takes Kamailio's reports and does nothing.
type deaf struct{}

// Message implements relay.Rooms; it is never called, see Group.Refuse.
func (deaf) Message(*evapi.Message) {}

// Result implements relay.Rooms.
func (deaf) Result(evapi.Result) {}

// Registered implements relay.Rooms.
func (deaf) Receipt(*evapi.Receipt) {}
func (deaf) Request(*evapi.Message) {}

func (deaf) Registered(string) {}

// Devices implements relay.Rooms.
func (deaf) Devices(evapi.Registration) {}

// Lost implements relay.Rooms.
func (deaf) Lost(*evapi.Conn) {}

// Drained implements relay.Rooms.
func (deaf) Drained()                 {}
func (deaf) Found(evapi.Registration) {}
func (deaf) Unheard()                 {}

// Wake implements relay.Rooms.
func (deaf) Wake() {}

// Linked implements relay.Rooms.
func (deaf) Linked(string, bool) {}

// Welcomed implements relay.Rooms.
func (deaf) Welcomed(string, evapi.Welcome) {}

// Call implements relay.Calls: an operator gets no answer while imcd is down.
func (deaf) Call(*evapi.Call) {}
