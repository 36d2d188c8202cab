package host

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Files are those of a host, by the absolute paths that they have there.
type Files interface {
	// Read returns all of a file. Its error wraps fs.ErrNotExist if there is no such file.
	Read(path string) ([]byte, error)
	// Write replaces what a file says. It makes none.
	Write(path string, text []byte) error
	// Mode is the permissions of what is there.
	Mode(path string) (fs.FileMode, error)
	// List names what a directory has, sorted.
	List(dir string) ([]string, error)
	// Link is what a symbolic link says.
	Link(path string) (string, error)
}

// Live are the files of the host that this process runs on.
type Live struct{}

// Read implements [Files].
func (Live) Read(path string) ([]byte, error) { return os.ReadFile(filepath.Clean(path)) }

// Write implements [Files].
func (Live) Write(path string, text []byte) error {
	f, err := os.OpenFile(filepath.Clean(path), os.O_WRONLY|os.O_TRUNC, 0)
	return writeAll(f, err, text)
}

// Mode implements [Files].
func (Live) Mode(path string) (fs.FileMode, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Mode(), nil
}

// List implements [Files].
func (Live) List(dir string) ([]string, error) { return names(os.ReadDir(dir)) }

// Link implements [Files].
func (Live) Link(path string) (string, error) { return os.Readlink(path) }

// Tree is a host kept in a directory: a dry one. No symbolic link in it leads out of it.
type Tree struct{ root *os.Root }

// OpenTree opens the directory that holds proc, sys and etc of a host.
func OpenTree(dir string) (*Tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the tree of a host: %w: name a directory that has proc and sys of it", err)
	}
	return &Tree{root: root}, nil
}

// Close lets go of the directory.
func (t *Tree) Close() error { return t.root.Close() }

// Read implements [Files].
func (t *Tree) Read(path string) ([]byte, error) { return t.root.ReadFile(inside(path)) }

// Write implements [Files]. As in the kernel, a file that shows a choice ("always [madvise] never") takes
// one of its words and shows it in brackets.
func (t *Tree) Write(path string, text []byte) error {
	if was, err := t.Read(path); err == nil {
		text = rebracket(was, text)
	}
	f, err := t.root.OpenFile(inside(path), os.O_WRONLY|os.O_TRUNC, 0)
	return writeAll(f, err, text)
}

// Mode implements [Files].
func (t *Tree) Mode(path string) (fs.FileMode, error) {
	info, err := t.root.Stat(inside(path))
	if err != nil {
		return 0, err
	}
	return info.Mode(), nil
}

// List implements [Files].
func (t *Tree) List(dir string) ([]string, error) {
	return names(fs.ReadDir(t.root.FS(), inside(dir)))
}

// Link implements [Files].
func (t *Tree) Link(path string) (string, error) { return t.root.Readlink(inside(path)) }

// inside is a path as a directory's own.
func inside(path string) string {
	if path = strings.Trim(path, "/"); path == "" {
		return "."
	}
	return path
}

func names(all []fs.DirEntry, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	list := make([]string, len(all))
	for i, e := range all {
		list[i] = e.Name()
	}
	return list, nil
}

// writeAll writes by one call, as files of /proc want it, and closes.
func writeAll(f *os.File, err error, text []byte) error {
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

// rebracket is was with the brackets moved to the word that text is; text, if was shows no choice of it.
func rebracket(was, text []byte) []byte {
	word := string(bytes.TrimSpace(text))
	open, shut := bytes.IndexByte(was, '['), bytes.IndexByte(was, ']')
	if open < 0 || shut < open || word == "" || strings.ContainsAny(word, " []\n") {
		return text
	}
	bare := strings.NewReplacer("[", "", "]", "").Replace(string(was))
	var b strings.Builder
	for i, w := range strings.Split(strings.TrimRight(bare, "\n"), " ") {
		if i > 0 {
			b.WriteByte(' ')
		}
		if w == word {
			w = "[" + w + "]"
		}
		b.WriteString(w)
	}
	if !strings.Contains(b.String(), "[") {
		return text
	}
	b.WriteString(bare[len(strings.TrimRight(bare, "\n")):])
	return []byte(b.String())
}
