package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/schema"
	"imcd/schema/schematest"
)

// once says text as alice, in a request whose Call-ID is made of it: said again it is the
// same request.
func once(ctx context.Context, alice *evapitest.UA, room, text string) (int, error) {
	res, err := alice.Do(ctx, evapitest.Request{Method: "MESSAGE", URI: roomURI(room), Body: []byte(text),
		CallID: strings.ReplaceAll(text, " ", "-"), CSeq: 1})
	if err != nil {
		return 0, err
	}
	return res.StatusCode, nil
}

// wantOnce checks that bob was sent each text in one copy, in this order, and that it is
// stored in one row.
func wantOnce(t *testing.T, bob *evapitest.UA, url, room string, texts []string) {
	t.Helper()
	ctx := kit.Context(t)
	last := texts[len(texts)-1]
	all, err := bob.Wait(ctx, func(all []evapitest.Received) bool { return countTexts(all, last) > 0 })
	if err != nil {
		t.Errorf("%q has not arrived: %v", last, err)
	}
	var got []string
	for _, m := range all {
		if text, said := strings.CutPrefix(m.Text(), "[alice]: "); said {
			got = append(got, text)
		}
	}
	if !slices.Equal(got, texts) {
		t.Errorf("bob got %q, want %q", got, texts)
	}
	store, err := schema.Open(ctx, url, schema.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close() // it was only read
	rooms, err := roomRows(ctx, store)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := store.Messages(ctx, rooms[room].ID, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var stored []string
	for i, m := range rows {
		stored = append(stored, string(m.Body))
		if m.Seq != uint64(i+1) {
			t.Errorf("row %d has number %d", i, m.Seq)
		}
	}
	if !slices.Equal(stored, texts) {
		t.Errorf("stored are %q, want %q", stored, texts)
	}
}

// TestPromiseStandby: with a standby that confirms each commit, nothing is answered 200 while
// it does not, and all that was sent meanwhile has its true answer when it does again. When
// the primary is killed and the standby promoted, imcd goes on by itself.
func TestPromiseStandby(t *testing.T) {
	t.Parallel()
	primary, standby := schematest.NewPair(t, schematest.Options{})
	if err := primary.CreateDatabase("imcd"); err != nil {
		t.Fatal(err)
	}
	url := schematest.Hosts("imcd", primary, standby)
	s := start(t, "postgres", stack.Options{DBURL: url})
	ctx := kit.Within(t, 2*time.Minute)
	const room = "chat-safe"
	alice, bob := twoInRoom(t, s, room)

	if err := standby.Pause(); err != nil {
		t.Fatal(err)
	}
	texts := []string{"first", "second", "third"}
	for _, text := range slices.Concat(texts, []string{"#create chat-other", texts[0]}) {
		code, err := once(ctx, alice, room, text)
		if err != nil || code != 503 {
			t.Errorf("%q without the standby: %d %v", text, code, err)
		}
	}
	if code := ready(t, s); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz says %d though everything is answered 503", code)
	}
	if all := bob.Received(); countTexts(all, "[alice]") > 0 {
		t.Errorf("bob was sent what is not safe: %v", all)
	}
	if err := standby.Resume(); err != nil {
		t.Fatal(err)
	}
	for _, text := range slices.Concat(texts, []string{"#create chat-other", texts[0]}) {
		kit.Until(t, ctx, text+" is answered 200", func() bool {
			code, err := once(ctx, alice, room, text)
			return err == nil && code == 200
		})
	}
	wantOnce(t, bob, url, room, texts)

	// Messages go on while the primary dies, each repeated until its client is content.
	type said struct {
		text string
		at   time.Time // of its 200
	}
	answered, saying, enough := make(chan said, 1<<16), make(chan error, 1), make(chan struct{})
	go func() {
		defer close(answered)
		for n := 0; ; n++ {
			text := fmt.Sprint("go on ", n)
			for code := 0; code != 200; {
				var err error
				if code, err = once(ctx, alice, room, text); err != nil {
					saying <- err
					return
				}
			}
			answered <- said{text, time.Now()}
			select {
			case <-enough:
				saying <- nil
				return
			default:
			}
		}
	}()
	texts = append(texts, (<-answered).text)
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := standby.Promote(ctx); err != nil {
		t.Fatal(err)
	}
	promoted := time.Now()
	first := time.Time{}
	for a := range answered {
		texts = append(texts, a.text)
		if first.IsZero() && a.at.After(promoted) {
			first = a.at
			close(enough)
		}
	}
	if err := <-saying; err != nil {
		t.Error(err)
	}
	took := first.Sub(promoted)
	t.Logf("message %d is answered %v after the promotion", len(texts), took)
	if first.IsZero() || took > 2*time.Second {
		t.Error("that is not soon")
	}
	wantOnce(t, bob, url, room, texts)
}

// TestPromiseCutCommit: the connection to the database is cut between a commit and its
// answer, and before it. The sender does not notice.
func TestPromiseCutCommit(t *testing.T) {
	t.Parallel()
	pg := schematest.New(t, schematest.Options{})
	if err := pg.CreateDatabase("imcd"); err != nil {
		t.Fatal(err)
	}
	cutter := schematest.NewCutter(t, pg)
	s := start(t, "postgres", stack.Options{DBURL: cutter.URL("imcd")})
	ctx := kit.Within(t, 2*time.Minute)
	const room = "chat-cut"
	alice, bob := twoInRoom(t, s, room)
	texts := []string{"cut after it", "cut before it"}
	for i, moment := range []schematest.Moment{schematest.AfterCommit, schematest.BeforeCommit} {
		cut := cutter.Cut(moment, texts[i])
		for range 2 {
			code, err := once(ctx, alice, room, texts[i])
			if err != nil || code != 200 {
				t.Errorf("%q: %d %v", texts[i], code, err)
			}
		}
		select {
		case <-cut.Done:
		default:
			t.Errorf("%q: nothing was cut", texts[i])
		}
	}
	// A command is several statements.
	cut := cutter.Cut(schematest.AfterCommit, "COMMIT")
	mustSay(t, alice, "alice", room, "#add carol")
	select {
	case <-cut.Done:
	default:
		t.Error("no command was cut")
	}
	wantOnce(t, bob, pg.URL("imcd"), room, texts)
}
