package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// manCommand writes the manual pages: one for the tool and one for each of its
// commands. It is for building packages, and hidden.
func (t *tool) manCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{Use: "man DIRECTORY", Short: "Write the manual pages", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			t.asking = true
			// The footer that says how the page was made has no place in it.
			root.DisableAutoGenTag = true
			date, err := sourceDate(t.getenv("SOURCE_DATE_EPOCH"))
			if err != nil {
				return err
			}
			header := &doc.GenManHeader{Section: "1", Source: "imcd", Manual: "imcd", Date: &date}
			if err := doc.GenManTree(root, header, args[0]); err != nil {
				return fmt.Errorf("writing manual pages: %w", err)
			}
			return nil
		}}
}

// sourceDate is the date on the pages, from the seconds that builds which can be
// repeated give; empty: that of this program's file.
func sourceDate(epoch string) (time.Time, error) {
	if epoch != "" {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
		}
		return time.Unix(seconds, 0).UTC(), nil
	}
	self, err := os.Executable()
	if err != nil {
		return time.Time{}, fmt.Errorf("looking for this program: %w", err)
	}
	info, err := os.Stat(self)
	if err != nil {
		return time.Time{}, fmt.Errorf("date of this program: %w", err)
	}
	return info.ModTime().UTC(), nil
}
