package engine

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"imcd/evapi"
)

// Random conversations of phones that answer, or do not, with restarts, crashes,
// limits and a database that fails, against the reference: every member gets what
// it is owed, in the order of the room, once unless imcd has crashed, and hears
// the number of what was dropped.
func TestDeliveryModel(t *testing.T) {
	checkTimed(t, checkDelivery)
}

var deliverySteps = map[string]func(*world){
	"say": (*world).sayStep, "say2": (*world).sayStep, "burst": (*world).burstStep, "burst2": (*world).burstStep,
	"join": (*world).joinStep, "add": (*world).addStep, "leave": (*world).leaveStep, "remove": (*world).removeStep,
	"destroy": (*world).destroyStep, "phone": (*world).phoneStep, "phone2": (*world).phoneStep, "once": (*world).onceStep,
	"register": (*world).registerStep, "register2": (*world).registerStep, "flurry": (*world).flurryStep,
	"answer": (*world).answerStep, "stray": (*world).strayStep,
	"pass": (*world).passStep, "pass2": (*world).passStep, "prune": (*world).pruneStep, "crash": (*world).crashStep,
	"restart": (*world).restartStep, "refuse": (*world).refuseStep, "away": (*world).awayStep, "down": (*world).downStep,
	"lost":    (*world).lostStep,
	"receipt": (*world).receiptStep, "receipt2": (*world).receiptStep,
}

func checkDelivery(rt *rapid.T) {
	one := func(name string, of ...int) int { return rapid.SampledFrom(of).Draw(rt, name) }
	w := &world{rt: rt, cfg: DefaultConfig(), rooms: map[string]*refRoom{}, ids: map[string]string{},
		heardAt: map[string]time.Time{}, registered: map[string]time.Time{}, sentIDs: map[string]bool{}}
	w.cfg.HashSize = 1
	w.cfg.RetryMax, w.cfg.OfflineRetry, w.cfg.ResultTimeout = 4*time.Second, 20*time.Second, 5500*time.Millisecond
	w.cfg.CursorFlush = time.Duration(one("cursor_flush", 5, 2500)) * time.Millisecond
	w.cfg.LogEntries = one("room_log_entries", 1, 2, 5, 256)
	w.cfg.MemberBacklog = one("member_backlog", 0, 3, 10, 1000)
	w.cfg.RoomMessages = one("room_messages", 0, 3, 20)
	w.cfg.RoomBytes = one("room_bytes", 0, 40, 400)
	w.cfg.MessageAge = time.Duration(one("message_age", 0, 10, 100)) * time.Second
	w.cfg.PoisonTries = one("poison_tries", 0, 1, 2)
	w.cfg.MaxDelay = time.Duration(one("max_delay", 0, 1, 5000)) * time.Millisecond
	w.open(newMemStore())
	defer func() { w.close() }()
	for _, room := range []string{"red", "blue"} {
		w.create(room)
		for _, user := range []string{"bob", "cid"} {
			w.command("ann", room, "#add "+user, 200)
			w.enter(room, user)
		}
	}
	w.settle()
	names := slices.Sorted(maps.Keys(deliverySteps))
	for range rapid.IntRange(1, 60).Draw(rt, "steps") {
		name := rapid.SampledFrom(names).Draw(rt, "step")
		w.note("%s", name)
		deliverySteps[name](w)
		w.settle()
		w.checkMemory()
	}
	w.finish()
}

// checkMemory: what is kept in memory is for those who are about to get it.
func (w *world) checkMemory() {
	if w.down || w.away || time.Since(w.mute) < w.cfg.ResultTimeout+2*tick {
		return
	}
	if n := w.e.held.waiting.Load(); n != 0 {
		w.failf("%d bytes are kept, and nobody is waited for", n)
	}
}

// finish lets everybody get everything.
func (w *world) finish() {
	w.note("finish")
	w.back()
	w.up()
	w.relay.set(func() { clear(w.relay.codes); clear(w.relay.once) })
	w.pass(w.cfg.ResultTimeout + time.Second)
	for _, user := range deliveryUsers {
		w.register(user)
	}
	w.pass(w.cfg.OfflineRetry + w.cfg.RetryMax + time.Second)
	w.pass(w.cfg.RetryMax + 3*time.Second)
	for m := range w.members() {
		if w.blocked(m) || m.own() != m.room.last() {
			w.failf("at the end %s in %s (%q) has %d of %d", m.user, m.room.name, m.wait, m.at, m.room.last())
		}
	}
	if n, c := w.e.held.total(), w.e.credits.inUse(); n != 0 || c != 0 {
		w.failf("at the end %d bytes are held and %d copies under way", n, c)
	}
	if owed := w.store.owed(); owed != "" {
		w.failf("everything was delivered, but\n%s", owed)
	}
	// more: answers that were too old to be sent
	if n := testutil.ToFloat64(w.e.metrics.deliveries.WithLabelValues("refused")); n < float64(w.refused) {
		w.failf("%d copies were refused, and %v counted", w.refused, n)
	}
	if n := testutil.ToFloat64(w.e.metrics.dropped); n < float64(w.missed) {
		w.failf("%d messages were dropped, and %v counted", w.missed, n)
	}
}

var deliveryUsers = []string{"ann", "bob", "cid", "dora"}

func (w *world) user() string { return rapid.SampledFrom(deliveryUsers).Draw(w.rt, "user") }
func (w *world) room() *refRoom {
	return w.rooms[rapid.SampledFrom([]string{"red", "blue"}).Draw(w.rt, "room")]
}

// answered gives the answer to a request, which must have one when all is at rest.
func (w *world) answered(ch chan evapi.Answer) int {
	if w.away && len(ch) == 0 {
		<-time.After(reloadBackoffMax) // it met the first failure on its way
		synctest.Wait()
	}
	select {
	case a := <-ch:
		return a.Code
	default:
		w.failf("no answer")
		return 0
	}
}

// wants compares answers. While the database is away nothing is accepted.
func (w *world) wants(code, want int) bool {
	if w.away {
		return code == 503 || code == want && want >= 300
	}
	return code == want
}

// command sends a command, and wants an answer.
func (w *world) command(user, room, text string, want int) {
	w.heard(user)
	ch := w.post(user, room+"@x.org", text)
	synctest.Wait()
	if code := w.answered(ch); !w.wants(code, want) {
		w.failf("%s to %s %q: %d, want %d", user, room, text, code, want)
	}
}

func (w *world) create(room string) {
	w.command("ann", room, "#create", 200)
	w.rooms[room] = &refRoom{name: room, members: map[string]*refMember{}, shown: map[string]uint64{}}
	w.enter(room, "ann")
}

func (w *world) enter(room, user string) {
	r := w.rooms[room]
	r.members[user] = &refMember{room: r, user: user, at: r.last(), ids: map[string]string{}, mayHaveShown: r.shown[user]}
}

// talk posts n messages without waiting.
func (w *world) talk(r *refRoom, n int) (said []refMessage, answers []chan evapi.Answer) {
	r.probe(w)
	for range n {
		user := w.user()
		w.texts++
		text := fmt.Sprint("t", w.texts)
		said = append(said, refMessage{text: text, sender: user, size: len(text), at: time.Now()})
		w.heard(user)
		answers = append(answers, w.post(user, r.name+"@x.org", text))
		w.note("  %s > %s %s", user, r.name, text)
	}
	return said, answers
}

func (w *world) accept(r *refRoom, said []refMessage, answers []chan evapi.Answer) {
	late := r.mayRefuse(w)
	for i, m := range said {
		want := 200
		if r.members[m.sender] == nil {
			want = 403
		}
		code := w.answered(answers[i])
		if code == 503 && late { // before it is looked who said it
			continue
		}
		if !w.wants(code, want) {
			w.failf("%s to %s %q: %d, want %d", m.sender, r.name, m.text, code, want)
		}
		if want == 200 && !w.away {
			r.said = append(r.said, m)
		}
	}
}

func (w *world) sayStep() {
	r := w.room()
	said, answers := w.talk(r, 1)
	synctest.Wait()
	w.accept(r, said, answers)
}

func (w *world) burstStep() {
	r := w.room()
	said, answers := w.talk(r, rapid.SampledFrom([]int{2, 3, 5, 12, 40}).Draw(w.rt, "messages"))
	synctest.Wait()
	w.accept(r, said, answers)
}

// flurryStep lets users register while copies are made for them, and are answered.
func (w *world) flurryStep() {
	r := w.room()
	said, answers := w.talk(r, rapid.SampledFrom([]int{1, 2, 5}).Draw(w.rt, "messages"))
	for range rapid.IntRange(1, 3).Draw(w.rt, "registrations") {
		for range rapid.IntRange(0, 50).Draw(w.rt, "moment") {
			runtime.Gosched()
		}
		w.register(w.user())
	}
	synctest.Wait()
	w.accept(r, said, answers)
}

func (w *world) joinStep() {
	user, r := w.user(), w.room()
	if w.away && r.members[user] != nil {
		return // needs no database
	}
	w.command(user, r.name, "#join", 200)
	if r.members[user] == nil && !w.away {
		w.enter(r.name, user)
	}
}

func (w *world) addStep() {
	user, r := w.user(), w.room()
	want := 200
	if r.members[user] != nil {
		want = 403
	}
	w.command("ann", r.name, "#add "+user, want)
	if r.members[user] == nil && !w.away {
		w.enter(r.name, user)
	}
}

func (w *world) leaveStep() {
	user, r := w.user(), w.room()
	if user == "ann" {
		return // the owner stays
	}
	want := 200
	if r.members[user] == nil {
		want = 403
	}
	w.command(user, r.name, "#leave", want)
	if !w.away {
		r.drop(user)
	}
}

func (w *world) removeStep() {
	user, r := w.user(), w.room()
	if user == "ann" {
		return
	}
	want := 200
	if r.members[user] == nil {
		want = 404
	}
	w.command("ann", r.name, "#remove "+user, want)
	if !w.away {
		r.drop(user)
	}
}

func (w *world) destroyStep() {
	r := w.room()
	w.command("ann", r.name, "#destroy", 200)
	if !w.away {
		w.observe()
		w.create(r.name)
	}
}

func (w *world) phoneStep() {
	user, res := w.user(), w.result(false)
	w.note("  %s: %+v", user, res)
	w.relay.set(func() {
		if w.relay.codes[user] = res; res.Code == 200 {
			delete(w.relay.codes, user)
		}
	})
}

func (w *world) onceStep() {
	user, res := w.user(), w.result(true)
	w.note("  %s: %+v", user, res)
	w.relay.set(func() { w.relay.once[user] = res })
}

// result is what a phone answers, or what becomes of a copy on its way.
func (w *world) result(once bool) evapi.Result {
	all := []evapi.Result{result(200), result(200), result(404), result(404), result(410), result(480), result(408),
		result(500),
		{Code: 503, RetryAfter: 3 * time.Second}, {Code: 503, RetryAfter: time.Hour}, result(486), result(403), result(415),
		result(488),
		result(477), result(302), result(482), {Code: 500, Local: true}, {Code: 400, Local: true}, {}, {}}
	if !w.away { // else who leaves, and does not after all, is begun with again
		all = append(all, result(400))
	}
	if once {
		all = append(all, evapi.Result{Code: 503, Local: true}, result(tooLarge), result(415))
	}
	return rapid.SampledFrom(all).Draw(w.rt, "result")
}

func (w *world) registerStep() { w.register(w.user()) }

// heard: waiting copies for a user may be sent as soon as it has sent something.
func (w *world) heard(user string) { w.heardOf(user, time.Now()) }

func (w *world) heardOf(user string, at time.Time) {
	w.heardAt[user] = at
	for m := range w.members() {
		if m.user == user {
			m.until = time.Time{}
			m.there = m.there || !m.open.IsZero() && at.Sub(m.open) >= answerTime
		}
	}
}

func (w *world) register(user string) {
	w.registered[user] = time.Now()
	w.settles[user] = time.Now()
	for m := range w.members() {
		if m.user != user {
			continue
		}
		m.back = true
		if p := w.cfg.PoisonTries; !m.open.IsZero() && p > 0 && m.flying.missed == 0 && m.silent+1 >= p &&
			time.Since(m.open) >= answerTime {
			m.silent++ // that may be what it dies of
			m.open = time.Time{}
			m.putOff(refReads, time.Time{}, time.Now().Add(w.cfg.RetryMax+time.Second))
		}
		if m.wait != refOnline {
			m.until, m.due = time.Time{}, time.Now().Add(-1)
		}
	}
	w.e.Registered("sip:" + user + "@x.org")
}

// answerStep gives a late answer to what is still under way.
func (w *world) answerStep() {
	late := rapid.SampledFrom([]evapi.Result{result(200), result(200), result(480), result(477), result(408), result(503),
		result(415)}).Draw(w.rt, "answer")
	for _, user := range deliveryUsers {
		for _, room := range []string{"red", "blue"} {
			m := w.rooms[room].members[user]
			if m == nil || m.open.IsZero() {
				continue
			}
			w.note("  %s in %s: %d", user, room, late.Code)
			late.CallID = m.flying.callID
			w.e.Result(late)
			m.answered(w, sent{at: time.Now(), result: late, conn: m.conn})
			return
		}
	}
}

// strayStep gives an answer that has come before.
func (w *world) strayStep() {
	open := map[string]bool{}
	for m := range w.members() {
		open[m.flying.callID] = !m.open.IsZero() || open[m.flying.callID]
	}
	for _, id := range slices.Sorted(maps.Keys(w.ids)) {
		if !open[id] {
			w.e.Result(evapi.Result{CallID: id, Code: 200})
		}
	}
}

func (w *world) passStep() {
	w.pass(time.Duration(rapid.SampledFrom([]int{500, 1000, 3000, 6000, 25000, 60000}).Draw(w.rt,
		"ms")) * time.Millisecond)
}

func (w *world) pruneStep() { w.e.pruneOnce(context.Background()) }
