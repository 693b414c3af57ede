package phones

import (
	"testing"
	"time"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// machineNotices is how many notices a machine may get for one thing that happens.
const machineNotices = 3

// machine is a phone that answers by itself all that it receives.
type machine struct {
	user    string
	manners evapitest.Manners
}

func allMachines() []machine {
	return []machine{
		{"away", evapitest.Manners{Reply: "I am away and will read this later."}},
		{"echo", evapitest.Manners{Echo: true}},
		{"plain", evapitest.Manners{Receipts: []evapitest.ReceiptForm{evapitest.PlainReceipt}}},
		{"wrapped", evapitest.Manners{Receipts: []evapitest.ReceiptForm{evapitest.CPIMReceipt}}},
		{"deflated", evapitest.Manners{Receipts: []evapitest.ReceiptForm{evapitest.DeflatedReceipt}}},
	}
}

func machineUsers() []string {
	var names []string
	for _, m := range allMachines() {
		names = append(names, "machine-"+m.user)
	}
	return names
}

// machines: what a machine answers is answered by notices that it answers, which ends.
func machines(t *testing.T, s *site) {
	for _, m := range allMachines() {
		t.Run(m.user, func(t *testing.T) { machineMeets(t, s, m) })
	}
}

func machineMeets(t *testing.T, s *site, m machine) {
	user := "machine-" + m.user
	owner, room := s.agent(t, "zoe"), "sip:chat-of-"+user+"@"+domain
	p := s.phone(t, evapitest.UAConfig{User: user}, m.manners)
	says(t, owner, room, "#create")
	step := func(what string, do func()) {
		t.Helper()
		before := len(p.Received())
		do()
		quiet(t, s, p)
		if n := len(p.Received()) - before; n < 1 || n > machineNotices {
			t.Errorf("%s: the machine got %d notices", what, n)
		}
	}
	step("a message to a room that it is not in", func() {
		res, err := p.Say(kit.Within(t, 10*time.Second), room, "hello")
		if err != nil || res.StatusCode/100 == 2 {
			t.Errorf("it was accepted: %v %v", res, err)
		}
	})
	step("an invitation", func() { says(t, owner, room, "#invite "+user) })
	says(t, owner, room, "#remove "+user)
	step("it is added", func() { says(t, owner, room, "#add "+user) })
	step("a message", func() { says(t, owner, room, "hello") })
	step("it is removed", func() { says(t, owner, room, "#remove "+user) })
	step("it is added again", func() { says(t, owner, room, "#add "+user) })
	step("the room ends", func() { says(t, owner, room, "#destroy") })
	// No copy is to wait for a phone that is gone.
	if err := p.Unregister(kit.Within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	quiet(t, s, p)
}

// quiet waits until neither imcd nor the machine has anything left to do, which a loop
// of the two would never come to.
func quiet(t *testing.T, s *site, p *evapitest.Phone) {
	t.Helper()
	ctx := kit.Within(t, 10*time.Second)
	for rounds, last := 0, -1; rounds < 2; {
		if err := s.Idle(ctx); err != nil {
			t.Fatalf("it does not end: %v", err)
		}
		if n := len(p.Received()); p.Busy() || n != last {
			rounds, last = 0, n
			continue
		}
		rounds++
	}
}
