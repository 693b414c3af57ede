package evapi_test

import (
	"testing"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// TestRealStart: a Kamailio says the same word of its start at each hello, and another one after each start.
func TestRealStart(t *testing.T) {
	k := kit.Kamailio(t, evapitest.Options{})
	hello := func() (start, gen string) {
		t.Helper()
		p, err := evapitest.DialPeer(t.Context(), k.EvapiAddr())
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if err := p.Send("hello " + k.Secret()); err != nil {
			t.Fatal(err)
		}
		welcome, err := p.Next(t.Context())
		if err != nil || welcome.Method != "imc.welcome" || welcome.Params["start"] == "" {
			t.Fatalf("%s %v", welcome.Raw, err)
		}
		return welcome.Params["start"], welcome.Params["gen"]
	}
	var starts []string
	for range 2 {
		first, _ := hello()
		again, gen := hello()
		if first != again || gen != "2" {
			t.Errorf("start %q, then %q with the hello %s", first, again, gen)
		}
		starts = append(starts, first)
		if err := k.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if starts[0] == starts[1] {
		t.Errorf("two starts are called %q", starts[0])
	}
}
