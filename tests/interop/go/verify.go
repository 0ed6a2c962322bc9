// Checks exported proofs and feeds with the Go project's own note and tlog packages. Only the files are read here; every
// signature, hash and tree is theirs to judge. Run with:
//
//	verify proof KEY PROOF HEADER
//	verify feed KEY DIRECTORY
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "refused:", err)
		os.Exit(1)
	}
	fmt.Println("verified")
}

func run(args []string) error {
	switch {
	case len(args) == 4 && args[0] == "proof":
		return proof(args[1], args[2], args[3])
	case len(args) == 3 && args[0] == "feed":
		return feed(args[1], args[2])
	}
	return errors.New("usage: verify proof KEY PROOF HEADER | verify feed KEY DIRECTORY")
}

// open checks a checkpoint's signature; the tree is what was signed.
func open(key string, checkpoint []byte) (tree tlog.Tree, err error) {
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return tree, err
	}
	opened, err := note.Open(checkpoint, note.VerifierList(verifier))
	if err != nil {
		return tree, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return tree, errors.New("not a checkpoint of three lines")
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, err
	}
	tree.Hash, err = tlog.ParseHash(lines[2])
	return tree, err
}

func proof(key, path, header string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	leaf, err := os.ReadFile(header)
	if err != nil {
		return err
	}
	top, checkpoint, found := strings.Cut(string(text), "\n\n")
	lines := strings.Split(top, "\n")
	if !found || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" || !strings.HasPrefix(lines[1], "index ") {
		return errors.New("not a tlog-proof")
	}
	index, err := strconv.ParseInt(lines[1][len("index "):], 10, 64)
	if err != nil {
		return err
	}
	var steps tlog.RecordProof
	for _, line := range lines[2:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		steps = append(steps, hash)
	}
	tree, err := open(key, []byte(checkpoint))
	if err != nil {
		return err
	}
	return tlog.CheckRecord(steps, tree.N, tree.Hash, index, tlog.RecordHash(leaf))
}

// tiles reads tiles where C2SP tlog-tiles has them: as in the Go checksum database, without the height.
type tiles struct{ directory string }

func (t tiles) Height() int                     { return 8 }
func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}
func (t tiles) ReadTiles(wanted []tlog.Tile) (found [][]byte, err error) {
	for _, tile := range wanted {
		content, err := os.ReadFile(filepath.Join(t.directory, "tile", strings.TrimPrefix(tile.Path(), "tile/8/")))
		if err != nil {
			return nil, err
		}
		found = append(found, content)
	}
	return found, nil
}

func feed(key, directory string) error {
	checkpoint, err := os.ReadFile(filepath.Join(directory, "checkpoint"))
	if err != nil {
		return err
	}
	tree, err := open(key, checkpoint)
	if err != nil {
		return err
	}
	reader := tlog.TileHashReader(tree, tiles{directory})
	var bundle []byte
	for n := int64(0); n < tree.N; n++ {
		if n%256 == 0 {
			width := tree.N - n
			if width > 256 {
				width = 256
			}
			tile := tlog.Tile{H: 8, L: -1, N: n / 256, W: int(width)}
			name := strings.TrimPrefix(tile.Path(), "tile/8/data/")
			if bundle, err = os.ReadFile(filepath.Join(directory, "tile", "entries", name)); err != nil {
				return err
			}
		}
		if len(bundle) < 2 || len(bundle) < 2+int(binary.BigEndian.Uint16(bundle)) {
			return fmt.Errorf("entry %d is cut short", n)
		}
		end := 2 + int(binary.BigEndian.Uint16(bundle))
		signed, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, n)})
		if err != nil {
			return err
		}
		if tlog.RecordHash(bundle[2:end]) != signed[0] {
			return fmt.Errorf("entry %d isn't the one that was signed", n)
		}
		bundle = bundle[end:]
	}
	if len(bundle) != 0 {
		return errors.New("more entries than were signed")
	}
	return nil
}
