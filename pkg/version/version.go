// Package version owns the version of Meetwire, which every program and the User-Agent of every delivery tell.
package version

// Version follows semver.org and moves with CHANGELOG.md.
const Version = "0.1.0"

// UserAgent is what receivers see.
const UserAgent = "Meetwire/" + Version
