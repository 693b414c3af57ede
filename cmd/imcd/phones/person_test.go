package phones

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// TestOnePerson: each of pat's devices is off at a time of its own, baresip and JsSIP without a registration, and
// linphonec without its connection. Each gets what others say and what is written on another one, in order and, if imcd
// is not killed, once; also baresip, which has another contact after each start, and no +sip.instance.
// IMCD_PERSON is the number of messages, and IMCD_PERSON_KILLS how often imcd is killed meanwhile (make test-devices).
func TestOnePerson(t *testing.T) {
	messages := numberFrom("IMCD_PERSON", 120)
	p := newPerson(t, numberFrom("IMCD_PERSON_KILLS", 0))
	killed := make(map[int]bool)
	for len(killed) < p.kills {
		killed[rand.IntN(messages)] = true
	}
	percent := func(n int) int { return messages * n / 100 }
	steps := map[int]func(){
		percent(0): func() { p.goes(p.baresip) }, percent(20): p.isCutOff, percent(40): func() { p.goes(p.jssip) },
		percent(50): func() { p.comes(p.baresip) }, percent(65): p.isBack, percent(80): func() { p.comes(p.jssip) },
	}
	for i := range messages {
		if step := steps[i]; step != nil {
			step()
		}
		if killed[i] {
			p.kill()
		}
		by, room := p.quinn, p.rooms[i%len(p.rooms)]
		if i%10 == 9 && len(p.there) > 0 {
			if by = p.there[i/10%len(p.there)]; by == p.baresip {
				room = p.rooms[0] // it writes to one address only
			}
		}
		p.writes(by, room, fmt.Sprint("text ", i))
	}
	p.killing.Wait()
	for _, room := range p.rooms {
		p.writes(p.quinn, room, "end")
	}
	p.check()
}

// numberFrom is the number in an environment variable, or instead if it has none.
func numberFrom(name string, instead int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return instead
}

// goes lets a device of pat's unregister. What was said in the 50 ms before that comes again: it may not have got that.
func (p *person) goes(d *phone) {
	p.t.Helper()
	p.idle(d)
	time.Sleep(200 * time.Millisecond)
	d.unregister()
	p.there = without(p.there, d)
	p.devicesKnown()
}

// comes registers it again.
func (p *person) comes(d *phone) {
	p.t.Helper()
	began := time.Now()
	d.register()
	p.hasAll(d)
	p.t.Logf("a device had what it has missed %v after it began to register", time.Since(began))
	p.there = append(p.there, d)
	p.devicesKnown()
}

// isCutOff takes the connection from linphonec, of which imcd does not hear.
func (p *person) isCutOff() {
	p.t.Helper()
	p.idle(p.linphone)
	p.cable.cut()
	p.there = without(p.there, p.linphone)
	p.cutOff = 1
}

func (p *person) isBack() {
	p.t.Helper()
	before := p.linphone.registrations()
	p.cable.mend()
	p.linphone.registersAgain(before)
	began := time.Now()
	p.hasAll(p.linphone)
	p.t.Logf("Linphone had what it has missed %v after its registration", time.Since(began))
	p.there = append(p.there, p.linphone)
	p.cutOff = 0
}

// kill kills imcd within 0.1 s and starts it again, while messages are written.
func (p *person) kill() {
	p.killing.Wait()
	p.killing.Go(func() {
		time.Sleep(rand.N(100 * time.Millisecond))
		if err := p.site.Kill9(); err != nil {
			p.t.Error(err)
		}
		if err := p.site.StartImcd(p.t.Context()); err != nil {
			p.t.Error(err)
		}
	})
}

// check checks what the devices have got, room by room.
func (p *person) check() {
	p.t.Helper()
	for _, d := range []*phone{p.linphone, p.baresip, p.jssip} {
		p.hasAll(d)
		for _, room := range p.rooms {
			var want []string
			for _, text := range p.said(room) {
				if p.author[text] != d {
					want = append(want, text)
				}
			}
			got, once := p.got(d, room), []string{}
			for _, text := range got {
				if !slices.Contains(once, text) {
					once = append(once, text)
				}
			}
			again := len(got) - len(once)
			if !slices.Equal(once, want) || again > 0 && p.kills == 0 {
				p.t.Errorf("%T got %d messages in %s, %d of them again: %q, want %q", d.client, len(got), room, again, got, want)
			}
			if again > 0 {
				p.t.Logf("%T got %d messages in %s again", d.client, again, room)
			}
		}
	}
}
