package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"imcd/engine"
)

// webhookKeys say what is sent to a program of the operator, and where.
func webhookKeys() []key {
	return []key{
		textKey("webhook_url", "http or https address that gets what happens in rooms; empty: none",
			func(r *raw) *string { return &r.Webhook.URL }),
		secretKey("webhook_secret", "key of the webhook's signatures: base64, perhaps with whsec_ before it",
			func(r *raw) *string { return &r.Webhook.Secret }),
		fileKey("webhook_secret"),
		textKey("webhook_events", "what the webhook gets: "+strings.Join(engine.WebhookWords(), ", "),
			func(r *raw) *string { return &r.Webhook.Events }),
		boolKey("webhook_bodies", "1: the webhook gets what was said", func(r *raw) *bool { return &r.Webhook.Bodies }),
		durationKey("webhook_quiet", "a member is said to have missed something once in so long", time.Second, 24*time.Hour,
			func(r *raw) *time.Duration { return &r.Engine.WebhookQuiet }),
		durationKey("webhook_keep", "events that the webhook has not taken are deleted at this age", time.Minute,
			30*24*time.Hour,
			func(r *raw) *time.Duration { return &r.Webhook.Keep }),
	}
}

func (r *raw) checkWebhookURL() error {
	if r.Webhook.URL == "" {
		return nil
	}
	u, err := url.Parse(r.Webhook.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return errors.New("must be an address like https://example.org/imcd") // it may have a secret in it
	}
	if u.Scheme == "http" && !LoopbackHost(u.Hostname()) {
		r.Warnings = append(r.Warnings, "webhook_url is http: who is between can read what is sent")
	}
	return nil
}

// Bounds of the key of signatures, in bytes, after the Standard Webhooks specification.
const minWebhookKey, maxWebhookKey = 24, 64

func (r *raw) checkWebhookSecret() error {
	if r.Webhook.URL == "" {
		return nil
	}
	b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(r.Webhook.Secret, "whsec_"))
	if err != nil || len(b) < minWebhookKey || len(b) > maxWebhookKey {
		return fmt.Errorf("must be base64 of %d to %d bytes, perhaps with whsec_ before it (or webhook_secret_file)",
			minWebhookKey, maxWebhookKey)
	}
	return nil
}

func (r *raw) checkWebhookEvents() error {
	var kinds engine.EventKind
	for word := range strings.SplitSeq(r.Webhook.Events, ",") {
		k, ok := engine.ParseWebhookEvent(strings.TrimSpace(word))
		if !ok {
			return fmt.Errorf("%q is none of %s", strings.TrimSpace(word), strings.Join(engine.WebhookWords(), ", "))
		}
		kinds |= k
	}
	if r.Webhook.URL != "" {
		r.Engine.WebhookEvents, r.Engine.WebhookBodies = kinds, r.Webhook.Bodies
	}
	return nil
}
