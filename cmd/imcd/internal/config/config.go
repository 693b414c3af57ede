// Package config reads imcd's configuration: defaults, a YAML file, the
// environment and flags, in this order of growing priority. The result is
// checked; every error names the key and where its value came from.
package config

import (
	"strings"
	"time"

	"github.com/rs/zerolog"

	"imcd/cmd/imcd/internal/webhook"
	"imcd/engine"
	"imcd/engine/store"
	"imcd/evapi"
)

// Config is the checked configuration of the daemon.
type Config struct {
	Engine engine.Config
	DB     Database

	// Kamailios are the connections to make, at least one. Their Log is not set.
	Kamailios []evapi.Config

	// LookupDomains: imcd looks other domains up before a Kamailio has copies for them.
	// False with an outbound proxy, whose business that is.
	LookupDomains bool

	// Spare: of several imcd that share a Postgres this one wants rooms only if no other does.
	Spare bool

	// Marks tell whether several imcd have the same settings where they should: a short sum for each key that has not
	// its default.
	Marks map[string]string

	StateDir string // where files are kept that have no place of their own
	RPC      RPC
	HTTP     HTTP
	Access   Access
	Webhook  webhook.Config
	Bots     []store.Name // users that are programs on the WebSocket, not SIP clients
	Log      Log

	// Warnings are what is allowed and not wise: files with secrets that
	// everybody may read. One line each, without the secret.
	Warnings []string
}

// Database says where rooms and members are stored.
type Database struct {
	URL          string // sqlite://FILE or postgres://…; never empty once checked
	InStateDir   bool   // no URL was given: it is a file in StateDir
	RoomsTable   string
	MembersTable string
}

// Access says which clients may ask over rpc_listen and http_listen.
type Access struct {
	Token       string   // what clients must know; empty: loopback only, no token asked for
	Origins     []string // scheme://host[:port] of pages that may ask, beside imcd's own
	EventBodies bool     // message bodies are shown in events to clients that ask for them
}

// RPC is imcd's own JSON-RPC port.
type RPC struct {
	Listen   string // host:port; empty: none
	MaxConns int    // connections at a time
}

// HTTP is the port of health, metrics and JSON-RPC over HTTP.
type HTTP struct {
	Listen string // host:port; empty: none
}

// Log has the settings of the log.
type Log struct {
	Level  zerolog.Level
	Format string // auto, json or console
}

// raw is the configuration as it was written, before what depends on several
// keys is worked out.
type raw struct {
	Config
	evapi         []endpoint
	evapiSecret   string
	files         map[string]string // content of the file of KEY_file, by KEY
	dbMode        int
	origins       string
	bots          string
	outboundProxy string
	fanout        evapi.Lane
}

// endpoint is one entry of the key evapi.
type endpoint struct {
	addr, secret, secretFile string
}

// defaults returns the configuration of an imcd without any settings.
func defaults() *raw {
	return &raw{
		Config: Config{
			Engine:   engine.DefaultConfig(),
			DB:       Database{RoomsTable: "imc_rooms", MembersTable: "imc_members"},
			StateDir: "run",

			LookupDomains: true,

			RPC:  RPC{Listen: "127.0.0.1:8449", MaxConns: 64},
			HTTP: HTTP{Listen: "127.0.0.1:8450"},
			// The events are those of webhookKeys.
			Webhook: webhook.Config{Keep: 24 * time.Hour, Events: strings.Join(engine.WebhookWords(), ", ")},
			Log:     Log{Level: zerolog.InfoLevel, Format: "auto"},
		},
		evapi: []endpoint{{addr: "127.0.0.1:8448"}},
		files: make(map[string]string),
	}
}
