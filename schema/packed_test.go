package schema

import (
	"slices"
	"testing"

	"imcd/engine/store"
)

// FuzzPacked: what is put into a list comes out of it, whatever the tables hold.
func FuzzPacked(f *testing.F) {
	f.Add(int64(1), uint8(4), "alice", "example.org", int64(-1<<63), uint8(0), "", "")
	f.Add(int64(1<<62), uint8(255), "a@b", "c@d", int64(0), uint8(7), "Zoë\xff\x00", "[::1]")
	f.Fuzz(func(t *testing.T, n1 int64, flag1 uint8, user1, host1 string, n2 int64, flag2 uint8, user2, host2 string) {
		list := packed(nil).add(n1, int(flag1), user1, host1).add(n2, int(flag2), user2, host2)
		got := slices.Collect(list.all())
		if len(got) != 2 {
			t.Fatalf("%d entries", len(got))
		}
		for i, want := range []struct {
			number int64
			flag   int
			name   store.Name
		}{{n1, int(flag1), store.Name{User: user1, Host: host1}}, {n2, int(flag2), store.Name{User: user2, Host: host2}}} {
			if e := got[i]; e.number != want.number || e.flag != want.flag || e.name() != want.name ||
				e.key() != want.name.Key() {
				t.Errorf("entry %d is %+v, want %+v", i, e, want)
			}
		}
	})
}
