package engine

import (
	"testing"
	"unicode/utf8"
)

// TestReason: every code that a SIP response can have has words, the codes that
// operators see most have their own, and nothing else has any.
func TestReason(t *testing.T) {
	for code, want := range map[int]string{
		200: "delivered", 302: "redirected", 404: "not registered", 408: "phone does not answer", 430: "connection lost",
		477: "connection lost", 478: "destination cannot be resolved", 480: "not registered", 499: "refused",
		415: "phone cannot read this content", 599: "server error", 699: "refused everywhere",
		0: "", 100: "", 199: "", 700: "", -1: "", 1023: "",
	} {
		if got := Reason(code); got != want {
			t.Errorf("%d: %q, want %q", code, got, want)
		}
	}
	for code := 200; code < 700; code++ {
		if n := utf8.RuneCountInString(Reason(code)); n == 0 || n > 48 {
			t.Errorf("%d: %q", code, Reason(code))
		}
	}
	for code := range reasons() {
		if code < 200 || code > 699 {
			t.Errorf("%d is no final response", code)
		}
	}
}
