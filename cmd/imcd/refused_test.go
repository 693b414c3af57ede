package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// TestRefusedDataDisturbsNobody: of several who speak in one room at the same time, one
// says what the database refuses. That one is answered, and all others are heard.
func TestRefusedDataDisturbsNobody(t *testing.T) {
	pg := schematest.New(t, schematest.Options{})
	k, i := startBoth(t, imcdtest.Options{DBURL: pg.URL("postgres")})
	err := pg.Exec(kit.Context(t), "postgres",
		"ALTER TABLE imcd_messages ADD CHECK (position('poison'::bytea in body) = 0)")
	if err != nil {
		t.Fatal(err)
	}
	const senders, messages = 4, 12
	users := make([]*evapitest.UA, senders)
	for n := range users {
		users[n] = user(t, k, fmt.Sprint("u", n))
		kit.Say(t, users[n], lobby, "#join", 200)
	}
	var all sync.WaitGroup
	for n, u := range users {
		word, want := "hello", 200
		if n == 0 {
			word, want = "poison", 500
		}
		all.Go(func() {
			for i := range messages {
				text := fmt.Sprint(word, " ", n, ".", i, ".") // no two are alike, as machines' are
				res, err := u.Say(kit.Context(t), lobby, text)
				if err != nil || res.StatusCode != want {
					t.Errorf("%q: %v %v, want %d", text, res, err, want)
				}
			}
		})
	}
	all.Wait()
	if err := i.AwaitReady(kit.Context(t)); err != nil {
		t.Error(err)
	}
	_, err = users[0].Wait(kit.Context(t), func(got []evapitest.Received) bool {
		heard := 0
		for _, m := range got {
			if strings.Contains(m.Text(), "]: hello ") {
				heard++
			}
		}
		return heard == (senders-1)*messages
	})
	if err != nil {
		t.Error(err)
	}
}
