package check

import (
	"errors"
	"strings"

	"imcd/cmd/imcd/internal/config"
)

// Accepts reports why imcd does not take a value of a setting; nil if it does.
func Accepts(key, value string) error {
	_, err := config.Load(config.Sources{Environ: []string{
		"IMCD_EVAPI_SECRET=x", "IMCD_" + strings.ToUpper(key) + "=" + value,
	}})
	if wrong := new(config.Error); errors.As(err, &wrong) {
		return wrong.Err
	}
	return err
}
