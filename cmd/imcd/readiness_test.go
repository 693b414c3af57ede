package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"imcd/cmd/imcd/imcdtest"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	"imcd/schema/schematest"
)

// TestReadiness: imcd is ready while it has both a Kamailio and its database,
// and says which of them is missing.
func TestReadiness(t *testing.T) {
	db := schematest.New(t, schematest.Options{})
	if err := db.CreateDatabase("imcd"); err != nil {
		t.Fatal(err)
	}
	k, i := startBoth(t, imcdtest.Options{DBURL: db.URL("imcd")})
	check := func(code int, want string) {
		t.Helper()
		ctx := kit.Context(t)
		for {
			err := i.Await(ctx, "/readyz", code)
			if err != nil {
				t.Fatalf("waiting until %q is missing: %v", want, err)
			}
			if got := missing(t, i); got == want {
				return
			}
		}
	}
	check(http.StatusOK, "")
	if err := k.Halt(); err != nil {
		t.Fatal(err)
	}
	check(http.StatusServiceUnavailable, "kamailio")
	if err := db.StopFast(); err != nil {
		t.Fatal(err)
	}
	if err := i.Await(kit.Context(t), "/healthz", http.StatusOK); err != nil {
		t.Error(err)
	}
	if err := k.Start(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	check(http.StatusServiceUnavailable, "database")
	if err := db.Start(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	check(http.StatusOK, "")
	kit.Say(t, user(t, k, "alice"), lobby, "#create", 200)
}

// missing is what keeps imcd from being ready, as it says itself.
func missing(t *testing.T, i *imcdtest.Imcd) string {
	t.Helper()
	_, body := kit.Get(t, "http://"+i.HTTPAddr()+"/readyz")
	var state struct{ Missing []string }
	if err := json.Unmarshal(body, &state); err != nil {
		t.Fatal(err)
	}
	return strings.Join(state.Missing, " ")
}

// TestOneOfTwo: a Kamailio that is away keeps nobody from talking through the
// other one.
func TestOneOfTwo(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	i := startImcd(t, imcdtest.Options{Secret: k.Secret(), Evapi: "127.0.0.1:1," + k.EvapiAddr()})
	if err := i.AwaitReady(kit.Context(t)); err != nil {
		t.Fatal(err)
	}
	alice, bob := user(t, k, "alice"), user(t, k, "bob")
	kit.Say(t, alice, lobby, "#create", 200)
	kit.Say(t, bob, lobby, "#join", 200)
	if _, err := alice.WaitN(kit.Context(t), 2); err != nil {
		t.Error(err)
	}
}
