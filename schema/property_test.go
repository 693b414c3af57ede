package schema

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"imcd/engine"
)

// model is what a Store should hold: rooms with their members by age.
type model map[engine.Name]*engine.RoomState

func (m model) apply(c engine.Change) {
	switch c.Op {
	case engine.PutRoom:
		if m[c.Room.Name] == nil {
			m[c.Room.Name] = &engine.RoomState{}
		}
		m[c.Room.Name].Room = c.Room
	case engine.DeleteRoom:
		delete(m, c.Room.Name)
	case engine.PutMember:
		r, row := m[c.Member.Room], c.Member
		if row.Flag&engine.MemberInvited == 0 {
			row.Inviter, row.Told = engine.Name{}, false
		}
		if i := indexOf(r, row.User); i >= 0 {
			r.Members[i] = row
		} else {
			r.Members = append(r.Members, row)
		}
	case engine.DeleteMember:
		r := m[c.Member.Room]
		if i := indexOf(r, c.Member.User); i >= 0 {
			r.Members = slices.Delete(r.Members, i, i+1)
		}
	}
}

func (m model) copy() model {
	c := make(model)
	for name, r := range m {
		c[name] = &engine.RoomState{Room: r.Room, Members: slices.Clone(r.Members)}
	}
	return c
}

func (m model) byURI() map[string]engine.RoomState {
	rooms := make(map[string]engine.RoomState)
	for name, r := range m {
		state := *r
		if len(state.Members) == 0 {
			state.Members = nil
		}
		rooms[name.URI()] = state
	}
	return rooms
}

// TestStoreAgreesWithModel commits random batches, some of which must fail as a
// whole, and compares what is stored with a plain map, also after reopening.
func TestStoreAgreesWithModel(t *testing.T) {
	onEach(t, func(t *testing.T, url string) {
		s := open(t, url, Options{})
		run(t, s, "CREATE UNIQUE INDEX no_evil ON imc_members (username) WHERE username = 'evil'")
		commit(t, s, putRoom("prison", 0), putMember("prison", "evil", 0))
		reopened := 0
		rapid.Check(t, func(r *rapid.T) {
			var clean []engine.Change
			for name := range load(t, s) {
				if name != at("prison").URI() {
					clean = append(clean, deleteRoom(nameOfURI(name).User))
				}
			}
			commit(t, s, clean...)
			m := model{at("prison"): {Room: engine.RoomRow{Name: at("prison")},
				Members: []engine.MemberRow{{Room: at("prison"), User: at("evil")}}}}
			for range rapid.IntRange(1, 6).Draw(r, "batches") {
				m = batchStep(t, r, s, m)
			}
			if reopened++; reopened%20 == 0 {
				if err := s.Close(); err != nil {
					r.Fatal(err)
				}
				s = open(t, url, Options{})
			}
			if got := load(t, s); !reflect.DeepEqual(got, m.byURI()) {
				r.Fatalf("stored\n%v, want\n%v", got, m.byURI())
			}
		})
	})
}

// batchStep commits one batch and returns the model after it.
func batchStep(t *testing.T, r *rapid.T, s *Store, m model) model {
	next, fails := m.copy(), false
	var changes []engine.Change
	for range rapid.IntRange(1, 12).Draw(r, "changes") {
		c := drawChange(r, next)
		next.apply(c)
		changes = append(changes, c)
	}
	if rapid.IntRange(0, 4).Draw(r, "fail") == 0 {
		for name := range next { // any room but the prison refuses the inmate
			if name != at("prison") {
				changes, fails = append(changes, putMember(name.User, "evil", 0)), true
				break
			}
		}
	}
	err := s.Commit(testContext(t), changes)
	if fails != (err != nil) {
		r.Fatalf("commit of %v: %v, should fail: %t", changes, err, fails)
	}
	if fails {
		return m
	}
	return next
}

// drawChange draws a change that an engine could make now.
func drawChange(r *rapid.T, m model) engine.Change {
	room := fmt.Sprint("r", rapid.IntRange(1, 4).Draw(r, "room"))
	user := fmt.Sprint("u", rapid.IntRange(1, 5).Draw(r, "user"))
	kind := rapid.IntRange(0, 9).Draw(r, "kind")
	switch {
	case m[at(room)] == nil || kind == 0:
		return putRoom(room, rapid.IntRange(0, 1).Draw(r, "private"))
	case kind == 1:
		return deleteRoom(room)
	case kind <= 4:
		return deleteMember(room, user)
	case kind <= 6:
		return putInvited(room, user, fmt.Sprint("u", rapid.IntRange(1, 5).Draw(r, "inviter")), rapid.Bool().Draw(r, "told"))
	}
	return putMember(room, user, rapid.IntRange(0, 3).Draw(r, "flag"))
}

func indexOf(r *engine.RoomState, user engine.Name) int {
	return slices.IndexFunc(r.Members, func(m engine.MemberRow) bool { return m.User == user })
}
