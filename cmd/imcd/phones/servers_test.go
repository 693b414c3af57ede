package phones

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// TestTwoServers: the rooms of two servers are members of each other. What is said in
// one of them reaches everybody once, and then there is silence.
func TestTwoServers(t *testing.T) {
	ports, err := evapitest.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	domains := []string{"a.test", "b.test"}
	var sites []*site
	for i, domain := range domains {
		sites = append(sites, startSite(t, siteOptions{
			database: "sqlite", domain: domain, users: []string{"owner", "u1", "u2"},
			// The peer's domain is known to Kamailio's script only.
			settings: map[string]string{"lookup_domains": "0"},
			sipPort:  ports[i],
			peers:    map[string]int{domains[1-i]: ports[1-i]},
		}))
	}
	room := func(site, n int) string { return fmt.Sprintf("sip:chat-%d@%s", n, domains[site]) }
	var people []*evapitest.UA
	for i, s := range sites {
		owner := s.agent(t, "owner")
		for n := 1; n <= 2; n++ {
			says(t, owner, room(i, n), "#create")
			u := s.agent(t, fmt.Sprintf("u%d", n))
			says(t, u, room(i, n), "#join")
			people = append(people, u)
		}
	}
	for i, s := range sites {
		for n := 1; n <= 2; n++ {
			for other := 1; other <= 2; other++ {
				says(t, s.agent(t, "owner"), room(i, n), "#add "+room(1-i, other))
			}
		}
	}
	quiet := func() {
		t.Helper()
		ctx := kit.Within(t, 20*time.Second)
		for range 2 { // what one has just delivered is work for the other
			for _, s := range sites {
				if err := s.Idle(ctx); err != nil {
					t.Fatalf("it does not end: %v", err)
				}
			}
		}
	}
	quiet()
	for i, c := range []struct{ kind, body string }{
		{"text/plain", "one for all"}, {"application/x-picture", "\x89picture"},
	} {
		author := people[0]
		for _, u := range people {
			u.Clear()
		}
		res, err := author.Message(kit.Within(t, 10*time.Second), room(0, 1), c.kind, []byte(c.body))
		if err != nil || res.StatusCode/100 != 2 {
			t.Fatalf("%s: %v %v", c.kind, res, err)
		}
		quiet()
		for j, u := range people {
			n := 0
			for _, r := range u.Received() {
				if strings.HasSuffix(r.Text(), c.body) {
					n++
				}
			}
			if want := min(j, 1); n != want {
				t.Errorf("message %d: %s got it %d times, want %d: %q", i, u.AOR(), n, want, bodies(u.Received()))
			}
		}
	}
}

func bodies(all []evapitest.Received) []string {
	var texts []string
	for _, r := range all {
		texts = append(texts, r.From+" "+r.Text())
	}
	return texts
}
