package e2e

import (
	"syscall"
	"testing"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// TestFleetFrozenInCommit: the owner is frozen in the middle of a commit of several statements, whose transaction is
// open then and has its fence locked. The spare waits for that no longer than for another frozen one, and what was not
// committed is not committed later.
func TestFleetFrozenInCommit(t *testing.T) {
	f, rooms := startPair(t)
	f.cutter = schematest.NewCutter(t, f.primary)
	f.startImcd(t, &plain, 2, stack.Options{})
	f.talk(t, rooms)
	held := f.cutter.Cut(schematest.HeldCommit, "COMMIT")
	said := make(chan error, 1)
	ctx := kit.Within(t, fleetTime)
	go func() {
		said <- f.imcd[0].Call(ctx, "imc.add_member", []string{roomURI(quietRoom), userURI("newcomer")}, nil)
	}()
	kit.Await(t, "the owner is about to commit", held.Done)
	if err := f.imcd[0].SignalImcd(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	f.takesOver(t, 1)
	if err := f.imcd[0].SignalImcd(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	held.Release()
	if err := <-said; err == nil {
		t.Error("the frozen one says that it has added somebody")
	}
	var list struct{ Members []string }
	if err := f.imcd[1].Call(ctx, "imc.list_members", []string{roomURI(quietRoom)}, &list); err != nil {
		t.Error(err)
	}
	if len(list.Members) != 2 {
		t.Errorf("members are %v", list.Members)
	}
	f.more(t, fleetRate)
	f.swap(t)
	f.judgeTakeovers(t)
}
