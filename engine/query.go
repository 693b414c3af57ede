package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"imcd/engine/store"
)

// Errors of the queries.
var (
	ErrNoRoom = errors.New("no such room")
	// ErrElsewhere: another imcd of the fleet has the room.
	ErrElsewhere = errors.New("another imcd has this room")
)

// RoomInfo is one room in a list, as the module's RPC imc.list_rooms shows it.
type RoomInfo struct {
	Room    string `json:"room"`    // SIP URI
	Members int    `json:"members"` // invited ones included, as the module counts
	Owner   string `json:"owner"`   // SIP URI of the oldest owner; empty if none
}

// MemberList is the answer of imc.list_members.
type MemberList struct {
	Room    string   `json:"room"`    // SIP URI
	Members []string `json:"members"` // SIP URIs, oldest first, invited ones included
	Count   int      `json:"count"`
}

// Stats are figures of the engine.
type Stats struct {
	ActiveRooms  int   `json:"active_rooms"`
	Members      int   `json:"members"` // of all rooms, invited ones left out
	Invitations  int   `json:"invitations"`
	Outstanding  int   `json:"outstanding"`   // copies under way
	BacklogBytes int64 `json:"backlog_bytes"` // of messages and notices that wait for recipients
	Waiting      int   `json:"waiting"`       // places in rooms of members that are offline or tried again later
	Committing   int   `json:"committing"`    // changes that wait for the database or are being written
	Unwritten    int   `json:"unwritten"`     // rooms whose deliveries are not noted in the database yet
	Reading      int   `json:"reading"`       // queries for stored messages that wait or are carried out
	DatabaseOK   bool  `json:"database_ok"`   // the last commit succeeded
}

// Rooms lists all rooms by name.
func (e *Engine) Rooms(ctx context.Context) ([]RoomInfo, error) {
	rooms, err := gather(ctx, e, func(s *shard) []RoomInfo {
		infos := make([]RoomInfo, 0, len(s.rooms))
		for _, r := range s.rooms {
			infos = append(infos, r.info())
		}
		return infos
	})
	slices.SortFunc(rooms, func(a, b RoomInfo) int { return strings.Compare(a.Room, b.Room) })
	return rooms, err
}

func (r *room) info() RoomInfo {
	info := RoomInfo{Room: r.name.URI(), Members: len(r.order)}
	if o := r.owners(); len(o) > 0 {
		info.Owner = o[0].uri
	}
	return info
}

// Members lists who is in a room: ErrBadName, ErrNoRoom.
func (e *Engine) Members(ctx context.Context, uri string) (MemberList, error) {
	return ask(ctx, e, uri, func(r *room) MemberList {
		list := MemberList{Room: r.name.URI(), Members: []string{}, Count: len(r.order)}
		for _, m := range r.order {
			list.Members = append(list.Members, m.uri)
		}
		return list
	})
}

// RoomActive reports whether a room exists: ErrBadName.
func (e *Engine) RoomActive(ctx context.Context, uri string) (bool, error) {
	active, err := ask(ctx, e, uri, func(*room) bool { return true })
	if errors.Is(err, ErrNoRoom) {
		err = nil
	}
	return active, err
}

// RoomMember reports whether a user is in a room and not only invited:
// ErrBadName. No such room: false.
func (e *Engine) RoomMember(ctx context.Context, uri, user string) (bool, error) {
	name, err := ParseName(user, "")
	if err != nil {
		return false, fmt.Errorf("%w %q: %w", ErrBadName, clip(user), err)
	}
	member, err := ask(ctx, e, uri, func(r *room) bool {
		m := r.get(name.Key())
		return m != nil && !m.invited()
	})
	if errors.Is(err, ErrNoRoom) {
		err = nil
	}
	return member, err
}

// Stats sums up all shards.
func (e *Engine) Stats(ctx context.Context) (Stats, error) {
	parts, err := gather(ctx, e, func(s *shard) []Stats {
		st := Stats{ActiveRooms: len(s.rooms)}
		st.Waiting, st.Unwritten = s.delivery.pending()
		for _, r := range s.rooms {
			full := r.full()
			st.Members += full
			st.Invitations += len(r.order) - full
		}
		return []Stats{st}
	})
	sum := Stats{Outstanding: e.credits.inUse(), BacklogBytes: e.held.waiting.Load(), DatabaseOK: e.committer.healthy(),
		Committing: e.committer.pending(), Reading: e.loader.pending() + e.reads.pending()}
	for _, p := range parts {
		sum.ActiveRooms += p.ActiveRooms
		sum.Members += p.Members
		sum.Invitations += p.Invitations
		sum.Waiting += p.Waiting
		sum.Unwritten += p.Unwritten
	}
	return sum, err
}

// SumStats adds up the figures of several engines.
func SumStats(all []Stats) Stats {
	sum := Stats{DatabaseOK: true}
	for _, s := range all {
		sum.ActiveRooms += s.ActiveRooms
		sum.Members += s.Members
		sum.Invitations += s.Invitations
		sum.Outstanding += s.Outstanding
		sum.BacklogBytes += s.BacklogBytes
		sum.Waiting += s.Waiting
		sum.Committing += s.Committing
		sum.Unwritten += s.Unwritten
		sum.Reading += s.Reading
		sum.DatabaseOK = sum.DatabaseOK && s.DatabaseOK
	}
	return sum
}

// Healthy reports whether the last commit succeeded.
func (e *Engine) Healthy() bool { return e.committer.healthy() }

// ask puts a question to one room.
func ask[T any](ctx context.Context, e *Engine, uri string, f func(*room) T) (T, error) {
	var none T
	name, err := ParseName(uri, "")
	if err != nil {
		return none, fmt.Errorf("%w %q: %w", ErrBadName, clip(uri), err)
	}
	return askShard(ctx, e, name, func(s *shard) (T, error) {
		if r := s.rooms[name.Key()]; r != nil {
			return f(r), nil
		}
		return none, fmt.Errorf("%w: %s", ErrNoRoom, name.URI())
	})
}

// askShard runs f in the shard of a room.
func askShard[T any](ctx context.Context, e *Engine, room store.Name, f func(*shard) (T, error)) (T, error) {
	type reply struct {
		value T
		err   error
	}
	answer := make(chan reply, 1)
	hash := store.Hash(room.Key())
	s := e.shardOfHash(hash)
	s.inbox.post(func() {
		if !e.ownership.has(hash) {
			answer <- reply{err: fmt.Errorf("%w: %s", ErrElsewhere, room.URI())}
			return
		}
		value, err := f(s)
		answer <- reply{value, err}
	})
	select {
	case a := <-answer:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("waiting for room %s: %w", room.URI(), ctx.Err())
	}
}

// NewListener makes a Listener that lets up to events wait, with bodies of bytes
// together. It gets nothing before Listen.
func (e *Engine) NewListener(events int, bytes int64) *Listener {
	return &Listener{feed: &e.events, queue: make(chan *Event, events), capacity: bytes, lost: make(chan struct{})}
}

// Alive waits until all shards have answered, or ctx ends, which is the error.
func (e *Engine) Alive(ctx context.Context) error {
	_, err := gather(ctx, e, func(*shard) []struct{} { return nil })
	return err
}

// Moves reports whether no shard that runs has been busy with one round for longer than that. It does not
// wait.
func (e *Engine) Moves(within time.Duration) bool {
	since := time.Now().Add(-within).UnixNano()
	for _, s := range e.shards {
		if at := s.round.Load(); at != 0 && at < since {
			return false
		}
	}
	return true
}

// RoomSummary is one room in an overview (RPC imc.overview).
type RoomSummary struct {
	Room     string `json:"room"` // SIP URI
	Title    string `json:"title,omitempty"`
	Private  bool   `json:"private"`
	Members  int    `json:"members"` // invited ones left out
	Invited  int    `json:"invited"`
	Owner    string `json:"owner"`    // SIP URI of the oldest owner; empty if none
	Sequence uint64 `json:"sequence"` // number of the last message
	Backlog  uint64 `json:"backlog"`  // messages that have not reached members, each counted once per member
	Away     int    `json:"away"`     // members that are offline or tried again later
}

// Overview sums up every room, in no order.
func (e *Engine) Overview(ctx context.Context) ([]RoomSummary, error) {
	return gather(ctx, e, func(s *shard) []RoomSummary {
		rooms := make([]RoomSummary, 0, len(s.rooms))
		for _, r := range s.rooms {
			rooms = append(rooms, r.summary())
		}
		return rooms
	})
}

func (r *room) summary() RoomSummary {
	sum := RoomSummary{Room: r.name.URI(), Title: r.title(), Private: r.private, Sequence: r.last}
	for _, m := range r.order {
		if m.invited() {
			sum.Invited++
			continue
		}
		sum.Members++
		sum.Backlog += r.lag(m)
		if m.wait != nil {
			sum.Away++
		}
		if sum.Owner == "" && m.owner() {
			sum.Owner = m.uri
		}
	}
	return sum
}

// MaxFound bounds what FindRooms returns.
const MaxFound = 20

// FindRooms lists the rooms that somebody may mean by a name without a domain, by
// name, at most MaxFound: those whose user part it is, and only if there is none,
// those whose user part ends with "-" and the name ("garden" is chat-garden).
// A leading "sip:" and a domain are taken as part of the name. Case does not
// matter. None is no error.
func (e *Engine) FindRooms(ctx context.Context, name string) ([]string, error) {
	name, _ = cutScheme(name)
	name = strings.ToLower(name)
	if name == "" {
		return []string{}, nil
	}
	_, _, full := strings.Cut(name, "@")
	found, err := gather(ctx, e, func(s *shard) []foundRoom {
		var near []foundRoom
		for _, r := range s.rooms {
			at := r.name.Key()
			if !full {
				at, _, _ = strings.Cut(at, "@")
			}
			if at == name || strings.HasSuffix(at, "-"+name) {
				near = append(near, foundRoom{uri: r.name.URI(), exact: at == name})
			}
		}
		return near
	})
	if err != nil {
		return nil, err
	}
	return bestFound(found), nil
}

// BestFound joins what FindRooms of several engines has returned for a name.
func BestFound(name string, uris []string) []string {
	name, _ = cutScheme(name)
	name = strings.ToLower(name)
	found := make([]foundRoom, len(uris))
	for i, uri := range uris {
		at, _ := cutScheme(uri)
		at = strings.ToLower(at)
		user, _, _ := strings.Cut(at, "@")
		found[i] = foundRoom{uri: uri, exact: at == name || user == name}
	}
	return bestFound(found)
}

// bestFound lists the rooms that a name means most likely.
func bestFound(found []foundRoom) []string {
	exact := slices.ContainsFunc(found, func(f foundRoom) bool { return f.exact })
	uris := []string{}
	for _, f := range found {
		if f.exact == exact {
			uris = append(uris, f.uri)
		}
	}
	slices.Sort(uris)
	uris = slices.Compact(uris)
	return uris[:min(len(uris), MaxFound)]
}

// foundRoom is a room that a name may mean.
type foundRoom struct {
	uri   string
	exact bool // the name is its user part, not only the end of it
}

func (r *room) lag(m *member) uint64 { return r.last - min(m.cursor, r.last) }
