package schema

import (
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"
)

// TestSeveralHosts: the form that libpq knows is taken, and who names several servers wants
// the one that can be written to, soon.
func TestSeveralHosts(t *testing.T) {
	const rw = pq.TargetSessionAttrsReadWrite
	for _, tt := range []struct {
		url    string
		target string // all hosts and the database
		user   string
		attrs  pq.TargetSessionAttrs
		wait   time.Duration
	}{
		{"postgres://u:p@h1:5432,h2:5433/db", "h1:5432,h2:5433/db", "u", rw, time.Second},
		{"postgres://u@h1,h2/db", "h1:5432,h2:5432/db", "u", rw, time.Second},
		{"postgres://u@h1,h2:1,h3:/db", "h1:5432,h2:1,h3:5432/db", "u", rw, time.Second},
		{"postgres://u@[::1]:7,[fe80::1],10.0.0.1/db", "[::1]:7,[fe80::1]:5432,10.0.0.1:5432/db", "u", rw, time.Second},
		{"postgres://u:a,b/c@h1:1,h2:2/db", "h1:1,h2:2/db", "u", rw, time.Second},
		{"postgres://u:a%2Cb@h1:1,h2:2/db", "h1:1,h2:2/db", "u", rw, time.Second},
		{"postgres://u:a,b@h1:1/db", "h1:1/db", "u", "", 0},
		{"postgres://u@/db?host=h1,h2&port=5432,5433",
			"h1:5432,h2:5433/db", "u", rw, time.Second},
		{"postgres://u@h1,h2/db?target_session_attrs=any&connect_timeout=4",
			"h1:5432,h2:5432/db", "u", "any", 4 * time.Second},
		{"postgres://u@h1,h2/db?connect_timeout=0", "h1:5432,h2:5432/db", "u", rw, 0},
		{"postgres://u@h1/db", "h1:5432/db", "u", "", 0},
	} {
		d, err := openDialect(tt.url, Options{}.withDefaults())
		if err != nil {
			t.Errorf("%s: %v", tt.url, err)
			continue
		}
		cfg := d.(*postgresDialect).cfg
		if d.target() != tt.target || cfg.User != tt.user || cfg.TargetSessionAttrs != tt.attrs ||
			cfg.ConnectTimeout != tt.wait {
			t.Errorf("%s: target %s, user %s, attributes %q, timeout %v", tt.url, d.target(), cfg.User,
				cfg.TargetSessionAttrs, cfg.ConnectTimeout)
		}
	}
	for _, rest := range []string{"h1,,h2/db", "h1:1,h2:x/db", "h1,:2/db", "h1,h2/db?host=h3", "h1,h2/db?port=1",
		"::1,::2/db", "h1:70000,h2/db", "h1,h2"} {
		url := "postgres://u:secret@" + rest
		_, err := openDialect(url, Options{}.withDefaults())
		if err == nil || !strings.HasPrefix(err.Error(), "db_url: ") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", url, err)
		}
	}
}
