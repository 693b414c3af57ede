package e2e

import (
	"testing"

	"imcd/cmd/imcd/imcdtest"
	"imcd/cmd/internal/convo"
	"imcd/cmd/internal/stack"
	"imcd/cmd/internal/stack/stacktest"
	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
	kamailiocfg "imcd/kamailio-cfg"
	"imcd/schema/schematest"
)

// binary is the imcd that all tests of this package share; plain is the same without the race detector.
var (
	binary = imcdtest.Binary{Build: stack.Build}
	plain  = imcdtest.Binary{Build: stack.BuildPlain}

	// Each of these lacks a guard, so that tests of a fleet are seen to fail.
	noFence   = imcdtest.Binary{Build: stack.BuildUnsafe("unsafe_fence")}
	noStandby = imcdtest.Binary{Build: stack.BuildUnsafe("unsafe_standby")}
	noSeen    = imcdtest.Binary{Build: stack.BuildUnsafe("unsafe_seen")}
)

func TestMain(m *testing.M) { imcdtest.MainOf(m, &binary, &plain, &noFence, &noStandby, &noSeen) }

// databases are what everything is tried on.
func databases() []string { return []string{"sqlite", "postgres"} }

// start starts a system for a test, with an empty database of that kind.
func start(t *testing.T, database string, opts stack.Options) *stack.Stack {
	t.Helper()
	if opts.Binary == "" {
		opts.Binary = binary.Path(t)
	}
	if database == "postgres" && opts.DBURL == "" {
		opts.DBURL = schematest.NewDatabase(t)
	}
	opts.Kamailio = convo.WithRC(opts.Kamailio, kamailiocfg.File(kamailiocfg.Demo))
	return stacktest.Start(t, opts)
}

// agent is a user agent with its own address of record, registered.
func agent(t *testing.T, s *stack.Stack, name string) *evapitest.UA {
	t.Helper()
	u, err := s.UA(kit.Context(t), name)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
