// Package native has the documents by which clients like Linphone know a group chat: conference-info (RFC 4575),
// which tells of title and members, and resource-lists (RFC 4826, 5366, 5367), which names users or rooms. It knows
// nothing of rooms beyond that.
package native
