package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"imcd/engine/store"
)

// place is a member of a room, or one who is invited, as the tables have it.
type place struct {
	flag    int
	inviter string // only imcd notes it
}

func (p place) inside() bool { return p.flag&store.MemberInvited == 0 }

// rights reports whether the member may bring people in and put them out.
func (p place) rights() bool { return p.flag&(store.MemberOwner|store.MemberAdmin) != 0 }

// roomState is one room as the tables have it.
type roomState struct {
	private bool
	members map[string]place // by key
}

// audience lists the members that can hear: without those who are only invited
// and those who are not registered.
func (r *roomState) audience() []string {
	var list []string
	for name, p := range r.members {
		if p.inside() && !isUser(name, gone) {
			list = append(list, name)
		}
	}
	return list
}

// state is what the tables hold, by the room's key.
type state map[string]*roomState

func loadState(ctx context.Context, from store.Store) (state, error) {
	all := state{}
	err := from.Load(ctx, store.Part{}, func(rs store.RoomState) error {
		r := &roomState{private: rs.Room.Flag&store.RoomPrivate != 0, members: make(map[string]place)}
		for _, m := range rs.Members {
			p := place{flag: m.Flag}
			if !m.Inviter.IsZero() {
				p.inviter = m.Inviter.Key()
			}
			r.members[m.User.Key()] = p
		}
		all[rs.Room.Name.Key()] = r
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load the tables: %w", err)
	}
	return all, nil
}

// String lists rooms and members with their flags. Two states are the same
// exactly if their strings are.
func (s state) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s)) {
		r := s[name]
		fmt.Fprintf(&b, "  %s private=%v", name, r.private)
		for _, m := range slices.Sorted(maps.Keys(r.members)) {
			fmt.Fprintf(&b, " %s=%d", m, r.members[m].flag)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
