package evapi

import (
	"errors"
	"strings"
	"testing"
)

func TestCopyForADevice(t *testing.T) {
	t.Parallel()
	cp := Copy{Out: simpleOutgoing(t, "x"), To: "sip:a@h", CallID: "c", Device: "u-1~2"}
	if err := checkCopy(&cp); err != nil {
		t.Error(err)
	}
	got := string(appendURI(nil, cp.To, cp.Device))
	if got != "sip:u-1~2@h;imc;gr" || uriSize(cp.To, cp.Device) < len(got) {
		t.Errorf("%s", got)
	}
	for name, change := range map[string]func(c *Copy){
		"a Dest, too":  func(c *Copy) { c.Dest = "sip:192.0.2.1" },
		"no user":      func(c *Copy) { c.To = "sip:h" },
		"long":         func(c *Copy) { c.Device = strings.Repeat("x", maxGRUU+1) },
		"a long URI":   func(c *Copy) { c.To = "sip:a@" + strings.Repeat("x", maxURI-10) },
		"another host": func(c *Copy) { c.Device = "u@evil" },
		"a line":       func(c *Copy) { c.Device = "u\r\nX: y" },
		"a quote":      func(c *Copy) { c.Device = `u"` },
		"two !":        func(c *Copy) { c.Device = "u!!" },
	} {
		bad := cp
		change(&bad)
		if err := checkCopy(&bad); !errors.Is(err, ErrBadCopy) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
