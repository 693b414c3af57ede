package kamailiocfg_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"imcd/evapi/evapitest"
	"imcd/evapi/evapitest/kit"
)

// TestOtherModules: rooms work beside modules that change or copy what passes a
// Kamailio: topoh hides addresses, siptrace sends copies elsewhere, path names an edge.
func TestOtherModules(t *testing.T) {
	tracer, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tracer.Close()
	for name, lines := range map[string]string{
		"topoh": `loadmodule "topoh.so"
modparam("topoh", "mask_key", "a-key-of-its-own")
modparam("topoh", "mask_ip", "127.0.0.8")
`,
		"siptrace": fmt.Sprintf(`loadmodule "siptrace.so"
modparam("siptrace", "duplicate_uri", "sip:%s")
modparam("siptrace", "hep_mode_on", 1)
modparam("siptrace", "trace_to_database", 0)
modparam("siptrace", "trace_flag", 22)
modparam("siptrace", "trace_on", 1)
modparam("siptrace", "trace_mode", 1)
`, tracer.LocalAddr()),
		"path": `loadmodule "path.so"
modparam("path", "use_received", 1)
`,
	} {
		t.Run(name, func(t *testing.T) {
			config := stockConfig(t, readmeDiffs(t)...)
			config = strings.Replace(config, "include_file \"imc.cfg\"\n", lines+"include_file \"imc.cfg\"\n", 1)
			c := startChat(t, evapitest.Options{Config: config}, [2]string{})
			expect(t, say(t, c.alice, "sip:chat-1@chat.test", "#create"), 200)
			expect(t, say(t, c.bob, "sip:chat-1@chat.test", "#join"), 200)
			c.says(t, c.alice, c.bob, "hello")
			c.says(t, c.bob, c.alice, "hello yourself")
			carol := kit.Registered(t, c.k, evapitest.UAConfig{User: "carol", Domain: "chat.test", Transport: "tcp"})
			expect(t, say(t, carol, "sip:chat-1@chat.test", "#join"), 200)
			c.says(t, c.alice, carol, "hello carol")
			if name == "siptrace" {
				if n, _, err := tracer.ReadFrom(make([]byte, 70000)); err != nil || n == 0 {
					t.Errorf("nothing was traced: %v", err)
				}
			}
		})
	}
}
