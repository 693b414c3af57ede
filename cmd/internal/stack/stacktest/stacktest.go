// Package stacktest starts stacks for tests.
package stacktest

import (
	"testing"

	"imcd/cmd/internal/stack"
	"imcd/evapi/evapitest/kit"
)

// Start starts a stack that ends with the test. The logs are shown if the test fails.
func Start(t testing.TB, opts stack.Options) *stack.Stack {
	t.Helper()
	s, err := stack.Start(kit.Context(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("imcd:\n%s\nKamailio:\n%s", s.LogTail(), s.Kamailio().LogTail())
		}
	})
	return s
}
