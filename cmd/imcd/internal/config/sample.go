package config

import _ "embed"

//go:embed imcd.yaml
var sample string

// Sample returns a documented configuration file with every key at its default.
func Sample() string { return sample }
