package localpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// defaultMajor is the version that is downloaded for a new data folder.
const defaultMajor = 17

// repository is where downloads come from: Maven Central, with a checksum beside each file.
const repository = "https://repo1.maven.org/maven2"

// downloadable returns the release that is fetched for a major version.
func downloadable(major int) (embeddedpostgres.PostgresVersion, error) {
	switch major {
	case 15:
		return embeddedpostgres.V15, nil
	case 16:
		return embeddedpostgres.V16, nil
	case 17:
		return embeddedpostgres.V17, nil
	case 18:
		return embeddedpostgres.V18, nil
	}
	return "", fmt.Errorf("%w: version %d cannot be downloaded", ErrNotFound, major)
}

// fetcher downloads Postgres programs and keeps them.
type fetcher struct {
	cache      string
	repository string
}

// fetch returns the programs of a major version, 0 for the default, from the cache or from the network. The
// download itself cannot be interrupted: when the context ends before it has, fetch returns, and the rest of
// the download goes on until it or the process ends.
func (f fetcher) fetch(ctx context.Context, major int) (programs, error) {
	if major == 0 {
		major = defaultMajor
	}
	version, err := downloadable(major)
	if err != nil {
		return programs{}, err
	}
	home := filepath.Join(f.cache, "postgres-"+string(version))
	bin := filepath.Join(home, "bin")
	if p, err := inspect(ctx, bin); err == nil {
		return p, nil
	}
	if err := ctx.Err(); err != nil {
		return programs{}, fmt.Errorf("download postgres: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- f.download(version, home) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return programs{}, fmt.Errorf("download postgres %s: %w", version, err)
	}
	return inspect(ctx, bin)
}

// download unpacks a release beside its home and moves it there as a whole, so that neither a crash nor another
// process that does the same leaves half a release.
func (f fetcher) download(version embeddedpostgres.PostgresVersion, home string) (err error) {
	if err := os.MkdirAll(f.cache, 0o755); err != nil { //nolint:gosec // G301: the server may run as another user than the one who downloads
		return fmt.Errorf("make the cache folder: %w", err)
	}
	work, err := os.MkdirTemp(f.cache, "download-")
	if err != nil {
		return fmt.Errorf("make a folder to unpack in: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()

	unpacked := filepath.Join(work, "unpacked")
	if err := f.unpack(version, work, unpacked); err != nil {
		return err
	}
	if err := os.Chmod(unpacked, 0o755); err != nil { //nolint:gosec // G302: as above
		return fmt.Errorf("open the programs to all users: %w", err)
	}
	if err := os.Rename(unpacked, home); err != nil {
		if _, statErr := os.Stat(home); statErr == nil {
			return nil // somebody else was faster
		}
		return fmt.Errorf("move the programs to their place: %w", err)
	}
	return nil
}

// unpack downloads a release and unpacks it. The library can do that only on the way to starting a server of
// its own, which it is kept from: it finds a data folder that looks made but is empty, so nothing is run and it
// ends with an error. Whether the programs came is seen by looking at them.
func (f fetcher) unpack(version embeddedpostgres.PostgresVersion, work, target string) error {
	major, err := parseMajor(string(version))
	if err != nil {
		return fmt.Errorf("read the version: %w", err)
	}
	data := filepath.Join(work, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return fmt.Errorf("make a folder to unpack in: %w", err)
	}
	if err := os.WriteFile(filepath.Join(data, "PG_VERSION"), fmt.Appendln(nil, major), 0o600); err != nil {
		return fmt.Errorf("make a folder to unpack in: %w", err)
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	startErr := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(version).
		BinaryRepositoryURL(f.repository).
		CachePath(filepath.Join(work, "archive")).
		RuntimePath(filepath.Join(work, "runtime")).
		BinariesPath(target).
		DataPath(data).
		Port(uint32(port)). //nolint:gosec // G115: a port fits
		Logger(io.Discard)).Start()
	for _, program := range []string{"postgres", "initdb"} {
		if _, err := os.Stat(filepath.Join(target, "bin", program)); err != nil {
			return errors.Join(startErr, fmt.Errorf("look for what was downloaded: %w", err))
		}
	}
	return nil
}

// cacheDir is where downloads are kept unless told otherwise.
func cacheDir() (string, error) {
	if os.Geteuid() == 0 {
		// The server runs as another user, for whom root's own cache folder is closed.
		return "/var/cache/meetwire/postgres", nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the user's cache folder: %w", err)
	}
	return filepath.Join(dir, "meetwire", "postgres"), nil
}
