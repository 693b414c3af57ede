package config

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestAccess: a port for others than this host needs a token; the lists are
// read as they are meant.
func TestAccess(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(Sources{Environ: []string{
		"IMCD_EVAPI_SECRET=x", "IMCD_HTTP_LISTEN=:8450", "IMCD_RPC_TOKEN_FILE=" + file, "IMCD_EVENT_BODIES=1",
		"IMCD_HTTP_ORIGINS=https://Ops.example.org, http://localhost:3000", "IMCD_BOTS=sip:echo@x.org,clock@x.org",
	}})
	if err != nil {
		t.Fatal(err)
	}
	a := cfg.Access
	if a.Token != "0123456789abcdef" || !a.EventBodies || len(cfg.Bots) != 2 || cfg.Bots[1].URI() != "sip:clock@x.org" ||
		!slices.Equal(a.Origins, []string{"https://ops.example.org", "http://localhost:3000"}) {
		t.Errorf("%+v, bots %v", a, cfg.Bots)
	}
}

func TestLoopback(t *testing.T) {
	for addr, want := range map[string]bool{
		"": true, "127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true, "localhost:1": true, "LOCALHOST:1": true,
		":1": false, "0.0.0.0:1": false, "[::]:1": false, "10.0.0.1:1": false, "localhost.example.org:1": false,
		"127.0.0.1": false,
	} {
		if IsLoopback(addr) != want {
			t.Errorf("%q: loopback is %v", addr, !want)
		}
	}
}
