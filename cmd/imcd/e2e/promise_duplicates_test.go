package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// TestPromiseDuplicates: a request that comes again, as a new transaction with
// the same Call-ID and CSeq, is answered as before and carried out once, also
// when imcd or Kamailio was killed in between.
func TestPromiseDuplicates(t *testing.T) {
	for _, database := range databases() {
		t.Run(database, func(t *testing.T) {
			t.Parallel()
			s := start(t, database, stack.Options{})
			ctx := kit.Within(t, 2*time.Minute)
			const room = "chat-twice"
			alice, bob := twoInRoom(t, s, room)
			again := func(id, text string, cseq int) int {
				res, err := alice.Do(ctx, evapitest.Request{Method: "MESSAGE", URI: roomURI(room), CallID: id,
					CSeq: cseq,
					Body: []byte(text)})
				if err != nil {
					t.Fatal(err)
				}
				return res.StatusCode
			}
			interruptions := []func() error{
				func() error { return nil },
				func() error { return kill9(ctx, s) },
				func() error { return s.RestartImcd(ctx) },
				func() error {
					if err := s.Kamailio().Kill(); err != nil {
						return err
					}
					if err := s.Kamailio().Start(ctx); err != nil {
						return err
					}
					if err := s.Ready(ctx); err != nil {
						return err
					}
					return bob.Register(ctx)
				},
			}
			for i, interrupt := range interruptions {
				var codes [2][3]int
				for round := range codes {
					id := fmt.Sprintf("id-%d", i)
					codes[round] = [3]int{again(id, fmt.Sprintf("once %d.", i), 1),
						again(id+"b", fmt.Sprintf("#create chat-new%d", i), 7),
						again(id, fmt.Sprintf("once %d, next.", i), 2)}
					if round == 0 {
						if err := interrupt(); err != nil {
							t.Fatal(err)
						}
					}
				}
				if codes[0] != codes[1] || codes[0] != [3]int{200, 200, 200} {
					t.Errorf("interruption %d: answers are %v", i, codes)
				}
			}
			mustSay(t, alice, "alice", room, "the end")
			all, err := bob.Wait(ctx, func(all []evapitest.Received) bool { return countTexts(all, "the end") > 0 })
			if err != nil {
				t.Fatal(err)
			}
			ids := make(map[string]string) // Call-ID of each text
			for _, m := range all {
				if id, seen := ids[m.Text()]; seen && id != m.CallID && strings.Contains(m.Text(), "once") {
					t.Errorf("%q came twice", m.Text())
				}
				ids[m.Text()] = m.CallID
			}
			for i := range interruptions {
				for _, text := range []string{"[alice]: once %d.", "[alice]: once %d, next."} {
					if text = fmt.Sprintf(text, i); ids[text] == "" {
						t.Errorf("%q did not come", text)
					}
				}
			}
		})
	}
}
