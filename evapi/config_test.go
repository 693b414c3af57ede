package evapi

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestNewConnChecksConfig(t *testing.T) {
	t.Parallel()
	good := Config{Addr: "127.0.0.1:8448", Secret: "s"}
	tests := []struct {
		field string
		spoil func(*Config)
	}{
		{"Addr", func(c *Config) { c.Addr = "" }},
		{"Addr", func(c *Config) { c.Addr = "127.0.0.1" }},
		{"Secret", func(c *Config) { c.Secret = "" }},
		{"Secret", func(c *Config) { c.Secret = "a b" }},
		{"Secret", func(c *Config) { c.Secret = `a"b` }},
		{"Secret", func(c *Config) { c.Secret = "a,b" }},
		{"Secret", func(c *Config) { c.Secret = strings.Repeat("x", 129) }},
		{"NextHop", func(c *Config) { c.NextHop = "sip:a b" }},
		{"NextHop", func(c *Config) { c.NextHop = "sip:a\r\n" }},
		{"Heartbeat", func(c *Config) { c.Heartbeat = -1 }},
		{"DeadAfter", func(c *Config) { c.DeadAfter = time.Second; c.Heartbeat = time.Second }},
		{"DialTimeout", func(c *Config) { c.DialTimeout = -1 }},
		{"BackoffMin", func(c *Config) { c.BackoffMin = -1 }},
		{"BackoffMax", func(c *Config) { c.BackoffMax = time.Nanosecond }},
		{"QueueFrames", func(c *Config) { c.QueueFrames = -1 }},
	}
	for _, tt := range tests {
		cfg := good
		tt.spoil(&cfg)
		if _, err := NewConn(cfg, &recorder{}); err == nil || !strings.Contains(err.Error(), tt.field) {
			t.Errorf("%s: %v", tt.field, err)
		} else if len(cfg.Secret) > 1 && strings.Contains(err.Error(), cfg.Secret) {
			t.Errorf("the error tells the secret: %v", err)
		}
	}
	if _, err := NewConn(good, nil); err == nil {
		t.Error("nil Handler accepted")
	}
	c, err := NewConn(good, &recorder{})
	if err != nil || c.Name() != good.Addr || c.Ready() {
		t.Errorf("%v, %v", c, err)
	}
	if err := c.Send(Copy{Out: simpleOutgoing(t, "x"), To: "sip:a@b", CallID: "1"}); !errors.Is(err, ErrDown) {
		t.Errorf("Send before Start: %v", err)
	}
	if err := c.Reply(TxID{}, Answer{Code: 200}); !errors.Is(err, ErrDown) {
		t.Errorf("Reply before Start: %v", err)
	}
	c.Stop()
	c.Start()
	c.Stop()
}
