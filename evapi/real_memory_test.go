package evapi_test

import (
	"fmt"
	"strings"
	"testing"

	"imcd/evapi"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// TestShortOfMemory: a Kamailio that has less than a third of its shared memory left without
// any copy gets them all the same: slowly those that take any of it, and as fast as ever
// those by SIP that find a device.
func TestShortOfMemory(t *testing.T) {
	_, rest := memoryOf(t, 64, evapi.LaneBatch)
	used := rest.MemoryTotal - rest.MemoryFree
	small := int(used*5/4>>20) + 1
	for _, tc := range []struct {
		lane   evapi.Lane
		copies int
		held   bool
	}{{evapi.LaneBatch, 10, true}, {evapi.LaneSIP, 300, false}} {
		t.Run(tc.lane.String(), func(t *testing.T) {
			d, before := memoryOf(t, small, tc.lane)
			if !before.MemoryShort || before.MemoryFree >= before.MemoryTotal/3 {
				t.Fatalf("%d of %d bytes are free, short: %v", before.MemoryFree, before.MemoryTotal, before.MemoryShort)
			}
			if err := newDevice(t, d.k, "bob", "udp", 200).ua.Register(t.Context()); err != nil {
				t.Fatal(err)
			}
			for i := range tc.copies {
				cp := evapi.Copy{Out: d.out, To: "sip:bob@example.org", CallID: fmt.Sprint("copy", i)}
				if err := d.c.Send(cp); err != nil {
					t.Fatal(err)
				}
			}
			for range tc.copies {
				if r := kit.Await(t, "a copy's result", d.results); r.Code != 200 {
					t.Errorf("%+v", r)
				}
			}
			after := d.c.Stats()
			if (after.Held > before.Held) != tc.held || after.MemoryFree < before.MemoryFree/2 {
				t.Errorf("copies were held %d times, %d bytes are free of %d", after.Held, after.MemoryFree, before.MemoryFree)
			}
			t.Logf("%d copies with %d of %d KB free, then %d; held %d times", tc.copies, before.MemoryFree>>10,
				before.MemoryTotal>>10, after.MemoryFree>>10, after.Held)
		})
	}
}

// memoryOf connects to a Kamailio with so many MB of shared memory, and waits until it has
// said how much is left.
func memoryOf(t *testing.T, mb int, lane evapi.Lane) (*direct, evapi.Stats) {
	t.Helper()
	const load = `loadmodule "usrloc.so"`
	cfg := kamailioDemo(t)
	if !strings.Contains(cfg, load) {
		t.Fatalf("demo.cfg has no %s", load)
	}
	// A table of some MB: Kamailio's memory is in whole ones.
	cfg = strings.Replace(cfg, load, load+`
#!define IMC_HTABLE_LOADED 1
loadmodule "htable.so"
modparam("htable", "htable", "ballast=>size=18")`, 1)
	d := &direct{k: kit.Kamailio(t, evapitest.Options{Config: cfg, SHM: mb}), results: make(chan evapi.Result, 1000)}
	d.c = connect(t, d.k, lane, "", newEvents(func(r evapi.Result) { d.results <- r }))
	d.out = mustOutgoing(t, "hi")
	kit.Eventually(t, "its memory is known", func() bool { return d.c.Stats().MemoryTotal > 0 })
	return d, d.c.Stats()
}
