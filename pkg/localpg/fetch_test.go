//go:build unix

package localpg

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// release is a tar.xz like that of a release, with programs that only say their version.
//
//go:embed testdata/release.txz
var release []byte

// repositoryServer serves a release as the repository does, in a zip file with a checksum beside it.
type repositoryServer struct {
	*httptest.Server
	downloads atomic.Int32
	checksum  func(archive []byte) string
}

func newRepository(t *testing.T) *repositoryServer {
	t.Helper()
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	file, err := w.Create("postgres.txz")
	require.NoError(t, err)
	_, err = file.Write(release)
	require.NoError(t, err)
	require.NoError(t, w.Close())

	r := &repositoryServer{checksum: func(archive []byte) string {
		sum := sha256.Sum256(archive)
		return hex.EncodeToString(sum[:])
	}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		answer := archive.Bytes()
		if strings.HasSuffix(req.URL.Path, ".sha256") {
			answer = []byte(r.checksum(archive.Bytes()))
		} else {
			r.downloads.Add(1)
		}
		if _, err := w.Write(answer); err != nil {
			t.Errorf("answer: %v", err)
		}
	}))
	t.Cleanup(func() {
		r.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return r
}

func requireOnly(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var found []string
	for _, entry := range entries {
		found = append(found, entry.Name())
	}
	require.Equal(t, names, found)
}

func TestFetchDownloadsOnce(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	f := fetcher{cache: filepath.Join(t.TempDir(), "made", "cache"), repository: r.URL}
	p, err := f.fetch(newContext(t), 0)
	require.NoError(t, err)
	require.Equal(t, defaultMajor, p.major)
	requireOnly(t, f.cache, "postgres-17.5.0")
	info, err := os.Stat(filepath.Dir(p.dir))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o755), info.Mode().Perm(), "the server's user must get to the programs")

	again, err := f.fetch(newContext(t), 17)
	require.NoError(t, err)
	require.Equal(t, p, again)
	require.EqualValues(t, 1, r.downloads.Load())
}

func TestFetchByManyAtOnce(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	f := fetcher{cache: t.TempDir(), repository: r.URL}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if _, err := f.fetch(newContext(t), 0); err != nil {
				t.Errorf("fetch: %v", err)
			}
		})
	}
	all.Wait()
	requireOnly(t, f.cache, "postgres-17.5.0")
}

func TestFetchRefusesWhatWasChangedOnTheWay(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.checksum = func([]byte) string { return strings.Repeat("0", 64) }
	f := fetcher{cache: t.TempDir(), repository: r.URL}
	_, err := f.fetch(newContext(t), 0)
	require.ErrorContains(t, err, "checksums do not match")
	requireOnly(t, f.cache)
}

func TestFetchWithoutARepository(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.Close()
	f := fetcher{cache: t.TempDir(), repository: r.URL}
	_, err := f.fetch(newContext(t), 16)
	require.ErrorContains(t, err, "download postgres 16")
	requireOnly(t, f.cache)

	_, err = f.fetch(newContext(t), 9)
	require.ErrorIs(t, err, ErrNotFound)
}

func TestFetchStopsWaitingWithItsContext(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	release := make(chan struct{})
	var once sync.Once
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		once.Do(func() { close(asked) })
		<-release
	}))
	cache := filepath.Join(t.TempDir(), "cache")
	ctx, cancel := context.WithCancel(newContext(t))
	result := make(chan error, 1)
	go func() {
		_, err := fetcher{cache: cache, repository: silent.URL}.fetch(ctx, 0)
		result <- err
	}()
	<-asked
	cancel()
	require.ErrorIs(t, <-result, context.Canceled)

	// The rest ends by itself, and leaves nothing.
	close(release)
	silent.Close()
	require.Eventually(t, func() bool {
		entries, err := os.ReadDir(cache)
		return err == nil && len(entries) == 0
	}, 10*time.Second, 10*time.Millisecond)
	_, err := fetcher{cache: cache, repository: silent.URL}.fetch(ctx, 0)
	require.ErrorIs(t, err, context.Canceled)
}
