package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// settings are what the environment says. Zero values mean not given.
type settings struct {
	sip, evapi, rpc, http int // ports of 127.0.0.1
	dbURL, stateDir       string
	imcd                  string // path of the program
}

// readSettings reads the variables; empty ones count as not given.
func readSettings(getenv func(string) string, imcd string) (*settings, error) {
	s := &settings{dbURL: getenv("DB_URL"), stateDir: getenv("STATE_DIR"), imcd: imcd}
	for _, p := range s.ports() {
		text := getenv(p.variable)
		if text == "" {
			continue
		}
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("%s: %q is not a port (1 to 65535)", p.variable, text)
		}
		*p.value = int(n)
	}
	return s, nil
}

// newStateDir makes an empty folder for one demonstration, in STATE_DIR if that
// is given: rooms of an earlier one would be in the way.
func (s *settings) newStateDir() (string, error) {
	parent := s.stateDir
	if parent != "" {
		var err error
		if parent, err = filepath.Abs(parent); err == nil {
			err = os.MkdirAll(parent, 0o700)
		}
		if err != nil {
			return "", fmt.Errorf("STATE_DIR: %w", err)
		}
	}
	dir, err := os.MkdirTemp(parent, "imcd-demo-")
	if err != nil {
		return "", fmt.Errorf("STATE_DIR: %w", err)
	}
	return dir, nil
}

// port is one of the settings that are ports.
type port struct {
	variable string
	value    *int
	standard int
	udp      bool // needed for UDP as well as TCP
}

func (s *settings) ports() []port {
	return []port{
		{"SIP_PORT", &s.sip, 5060, true},
		{"EVAPI_PORT", &s.evapi, 8448, false},
		{"RPC_PORT", &s.rpc, 8449, false},
		{"HTTP_PORT", &s.http, 8450, false},
	}
}

// checkPorts reports the first port that is given twice or taken by somebody
// else. Ports not given are left out.
func (s *settings) checkPorts() error {
	seen := make(map[int]string)
	for _, p := range s.ports() {
		if *p.value == 0 {
			continue
		}
		if other := seen[*p.value]; other != "" {
			return fmt.Errorf("%s and %s are both %d", other, p.variable, *p.value)
		}
		seen[*p.value] = p.variable
		if err := listen(*p.value, p.udp); err != nil {
			return fmt.Errorf("%s: port %d of 127.0.0.1 is in use; set %s to another one: %w",
				p.variable, *p.value, p.variable, err)
		}
	}
	return nil
}

// listen tries whether a port can be used.
func listen(port int, udp bool) error {
	addr := loopback(port)
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	if err := tcp.Close(); err != nil || !udp {
		return err
	}
	packets, err := net.ListenPacket("udp", addr)
	if err != nil {
		return err
	}
	return packets.Close()
}

// host is where everything listens.
const host = "127.0.0.1"

func loopback(port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
