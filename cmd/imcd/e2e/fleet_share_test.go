package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// parts returns how many shards each imcd of f has, the most first.
func (f *fleet) parts(t *testing.T) []int {
	t.Helper()
	owners, _ := f.owners(t)
	counts := make([]int, len(f.imcd))
	for _, i := range owners {
		counts[i]++
	}
	slices.Sort(counts)
	slices.Reverse(counts)
	return counts
}

// shares waits until the imcd of f have so many shards.
func (f *fleet) shares(t *testing.T, want ...int) {
	t.Helper()
	kit.Until(t, kit.Within(t, fleetTime), fmt.Sprint("the shards are divided so: ", want),
		func() bool { return slices.Equal(f.parts(t), want) })
}

// asksAnywhere asks each imcd, of which none has all rooms, about all of them, and changes rooms there.
func (f *fleet) asksAnywhere(t *testing.T) {
	t.Helper()
	const all = fleetRooms + 1
	asker, err := f.imcd[0].Agent(evapitest.UAConfig{User: "asker", Domain: chatHost})
	if err != nil {
		t.Fatal(err)
	}
	if err := asker.Register(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	list := make(chan string, 10)
	asker.SetAnswer(func(req *sip.Request) evapitest.Reply {
		select {
		case list <- string(req.Body()):
		default:
		}
		return evapitest.Reply{Code: 200}
	})
	for i, s := range f.imcd {
		var rooms []struct{ Room string }
		var stats struct {
			Rooms int `json:"active_rooms"`
		}
		var board struct{ Found int }
		ask := func(method string, params, result any) {
			t.Helper()
			if err := s.Call(kit.Context(t), method, params, result); err != nil {
				t.Errorf("%s at imcd %d: %v", method, i, err)
			}
		}
		ask("imc.list_rooms", []any{}, &rooms)
		ask("imc.stats", []any{}, &stats)
		ask("imc.overview", map[string]any{}, &board)
		if len(rooms) != all || stats.Rooms != all || board.Found != all {
			t.Errorf("imcd %d knows %d, %d and %d rooms", i, len(rooms), stats.Rooms, board.Found)
		}
		name := fmt.Sprint("chat-at", i)
		for _, room := range []string{roomURI(name), roomURI(quietRoom)} {
			var members struct{ Count int }
			if room != roomURI(quietRoom) {
				ask("imc.create_room", []any{room}, nil)
			}
			ask("imc.add_member", []any{room, "sip:asker@" + chatHost}, nil)
			ask("imc.list_members", []any{room}, &members)
			if want := map[bool]int{true: 3, false: 1}[room == roomURI(quietRoom)]; members.Count != want {
				t.Errorf("at imcd %d %s has %d members", i, room, members.Count)
			}
			ask("imc.remove_member", []any{room, "sip:asker@" + chatHost}, nil) // who was alone takes the room along
		}
		// Where this goes is a matter of the room.
		kit.Say(t, asker, roomURI(name), "#rooms", 200)
		kit.Eventually(t, "the list has all rooms", func() bool {
			return strings.Contains(kit.Await(t, "a list", list), fmt.Sprint(all, " rooms"))
		})
	}
}

// TestFleetShares: imcd divide the rooms among them by themselves, and do so again when one joins, is stopped or is
// killed. Nobody hears anything else than 200.
func TestFleetShares(t *testing.T) {
	f := startFleet(t, &plain, 3, stack.Options{Settings: map[string]string{}})
	f.shares(t, 22, 21, 21)
	f.asksAnywhere(t)
	fourth := start(t, "", stack.Options{Binary: plain.Path(t), DBURL: f.between(t), Beside: f.imcd[0], Spare: true})
	f.imcd = append(f.imcd, fourth)
	f.shares(t, 16, 16, 16, 16)
	if err := fourth.StopImcd(); err != nil {
		t.Fatal(err)
	}
	f.shares(t, 22, 21, 21, 0)
	f.more(t, fleetRate)
	f.judgeDrained(t)
	if err := f.imcd[2].Kill9(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	f.shares(t, 32, 32, 0, 0)
	t.Logf("others have the rooms %v after one was killed", time.Since(killed).Round(time.Millisecond))
	f.more(t, 2*fleetRate)
	f.judgeTakeovers(t)
}
