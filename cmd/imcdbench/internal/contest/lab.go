package contest

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"imcd/cmd/imcdbench/internal/load"
)

// Options are those that all contestants share.
type Options struct {
	Binary  string            // path of imcd
	Workers int               // SIP workers of each Kamailio
	SHM     int               // shared memory of each Kamailio, in MB
	Buffer  int               // of each Kamailio's sockets, in bytes; 0: its default
	Sockets int               // of the sink
	Set     map[string]string // settings of imcd, by key
	Rooms   map[int]int       // how many there are, by their size
	First   int               // number of the first member of all; 0: 1. Labs of one database have members of their own
	Log     io.Writer         // gets what Kamailio and imcd print; may be nil
}

// Lab holds the sink, the rooms and the options, which the contestants share. It is not for concurrent use.
type Lab struct {
	Load  *load.Load
	opts  Options
	rooms map[int][]load.Room // by size
	first int                 // number of the first member of all
	next  int                 // number of the next member that is made
}

// NewLab opens the sink. The caller must call Close.
func NewLab(opts Options) (*Lab, error) {
	traffic, err := load.New(opts.Sockets)
	if err != nil {
		return nil, err
	}
	first := max(1, opts.First)
	l := &Lab{Load: traffic, opts: opts, rooms: make(map[int][]load.Room), first: first, next: first}
	for _, size := range slices.Sorted(maps.Keys(opts.Rooms)) {
		for range opts.Rooms[size] {
			l.rooms[size] = append(l.rooms[size], load.Room{Name: fmt.Sprintf("chat-%d-%d", l.next, size),
				Sender: fmt.Sprintf("s%d", l.next), Base: l.next, Members: size})
			l.next += size
		}
	}
	return l, nil
}

// Close ends the sink.
func (l *Lab) Close() error { return l.Load.Sink.Stop() }

// Newcomer is the number of the i-th user who is in no room.
func (l *Lab) Newcomer(i int) int { return l.next + i }

// sinkURI is where everything goes in the straight set-up.
func (l *Lab) sinkURI() string { return fmt.Sprintf("sip:127.0.0.1:%d", l.Load.Sink.Ports()[0]) }

// Rooms are the first n rooms of a size.
func (l *Lab) Rooms(size, n int) []load.Room { return l.rooms[size][:n] }

// RegisterAll registers all members with the Kamailio at addr, again if they are registered.
func (l *Lab) RegisterAll(ctx context.Context, addr string) error {
	return l.Load.Register(ctx, addr, l.first, l.next-l.first)
}

// Fill is the SQL that makes the rooms and their members in the module's tables, as the module
// or imcd would find them at a start.
func (l *Lab) Fill() string {
	var sql strings.Builder
	for _, size := range slices.Sorted(maps.Keys(l.rooms)) {
		for _, r := range l.rooms[size] {
			fmt.Fprintf(&sql, `INSERT INTO imc_rooms (name, domain, flag) VALUES ('%[1]s', '%[2]s', 0);
				INSERT INTO imc_members (username, domain, room, flag) VALUES ('%[3]s', '%[2]s', 'sip:%[1]s@%[2]s', 1);
				INSERT INTO imc_members (username, domain, room, flag)
				SELECT 'm' || n, '%[2]s', 'sip:%[1]s@%[2]s', 0 FROM generate_series(%[4]d, %[5]d) n;
				`, r.Name, load.Domain, r.Sender, r.Base, r.Base+r.Members-1)
		}
	}
	return sql.String()
}
