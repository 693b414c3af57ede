package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"imcd/evapi"
)

// of is how somebody stands in room r.
func (h *house) of(user string) MemberDetail {
	h.t.Helper()
	d, err := h.e.RoomState(context.Background(), "sip:r@x.org")
	if err != nil {
		h.t.Fatal(err)
	}
	for _, m := range d.Members {
		if strings.HasPrefix(m.User, "sip:"+user+"@") {
			return m
		}
	}
	h.t.Fatalf("%s is not in the room", user)
	return MemberDetail{}
}

// TestStates: how a member stands is said in words, and by a code.
func TestStates(t *testing.T) {
	for _, tc := range []struct {
		code        int
		state, want string
	}{
		{480, StateOffline, "offline since 2000-01-01 00:00: no device registered"},
		{477, StateLost, "connection lost at 2000-01-01 00:00, waits for its registration"},
		{408, StateSilent, "phone does not answer since 2000-01-01 00:00, N"},
		{405, StateFailing, "not taken since 2000-01-01 00:00, N: 405 method not allowed"},
		{200, StateOnline, "online"},
	} {
		bubble(t, nil, func(h *house) {
			if d := h.of("alice"); d.StateCode != StateOnline {
				t.Errorf("alice is %q", d.State)
			}
			h.answers("bob", result(tc.code))
			h.says("1")
			h.pass(25 * time.Hour)
			d := h.of("bob")
			want := strings.Replace(tc.want, "2000-01-01 00:00",
				time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Local().Format("2006-01-02 15:04"), 1)
			before, after, _ := strings.Cut(want, "N")
			if d.StateCode != tc.state || !strings.HasPrefix(d.State, before) || !strings.HasSuffix(d.State, after) {
				t.Errorf("%d: %q %q, want %q", tc.code, d.StateCode, d.State, want)
			}
			if away := tc.code != 200; away != (d.Tries > 1) || away != (d.Since != nil) || away != (d.NextTry != nil) {
				t.Errorf("%d: %+v", tc.code, d)
			}
			p, err := h.e.Pending(context.Background(), "sip:bob@x.org")
			if away := tc.code != 200; err != nil || away &&
				(len(p) != 1 || p[0].State != d.State || p[0].StateCode != d.StateCode) {
				t.Errorf("%d: pending %+v %v", tc.code, p, err)
			}
		})
	}
}

// TestClock: a time of today needs no date.
func TestClock(t *testing.T) {
	now := time.Date(2026, 11, 28, 13, 5, 0, 0, time.Local)
	for at, want := range map[time.Time]string{now.Add(-time.Hour): "12:05", now.AddDate(0, 0, -1): "2026-11-27 13:05"} {
		if got := localTime(at, now); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestSkip: what is in the way of a member goes by hand, whatever became of it, and is
// not tried again; the member hears so, and gets what follows.
func TestSkip(t *testing.T) {
	for name, res := range map[string]evapi.Result{"under way": {}, "refused": result(405), "offline": result(480)} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(h *house) {
				h.answers("bob", res)
				h.says("1")
				h.says("2")
				h.pass(time.Second)
				h.sentTo()
				h.answers("bob", result(200))
				seq, err := h.e.SkipMessage(context.Background(), "sip:r@x.org", "bob")
				synctest.Wait()
				if err != nil || seq != 1 {
					t.Fatalf("%d %v", seq, err)
				}
				h.wantSent(notShown, "2")
				if d := h.of("bob"); d.Lost == nil || d.Lost.Seq != 1 || d.Lost.Count != 1 || d.Lost.Reason != lossOperator ||
					d.Lag != 0 {
					t.Errorf("%+v", d)
				}
				h.quiet()
			})
		})
	}
}

func TestSkipNothing(t *testing.T) {
	bubble(t, nil, func(h *house) {
		refused := new(Refused)
		for _, tc := range []struct {
			room, user string
			want       func(error) bool
		}{
			{"sip:r@x.org", "bob", func(err error) bool { return errors.As(err, &refused) }},
			{"sip:r@x.org", "nobody", func(err error) bool { return errors.Is(err, ErrNoUser) }},
			{"sip:other@x.org", "bob", func(err error) bool { return errors.Is(err, ErrNoRoom) }},
			{"r", "bob", func(err error) bool { return errors.Is(err, ErrBadName) }},
			{"sip:r@x.org", "@", func(err error) bool { return errors.Is(err, ErrBadName) }},
		} {
			if _, err := h.e.SkipMessage(context.Background(), tc.room, tc.user); !tc.want(err) {
				t.Errorf("%s %s: %v", tc.room, tc.user, err)
			}
		}
	})
}
