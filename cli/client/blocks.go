package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	// headerBlock is the type of the block that begins a pcapng file and says
	// which byte order it has.
	headerBlock = 0x0A0D0D0A
	byteOrder   = 0x1A2B3C4D
	// maxBlock is far above a datagram of 64 KiB with its headers.
	maxBlock = 1 << 20
)

// CopyBlocks copies a pcapng file block by block, so that what was written is
// a whole file however the reading ends, and calls wrote after each block with
// the bytes and packets so far. An end between blocks is no error.
func CopyBlocks(to io.Writer, from io.Reader, wrote func(bytes, packets int64)) error {
	var order binary.ByteOrder = binary.LittleEndian
	block := make([]byte, 12, 4096)
	var bytes, packets int64
	for {
		// Type, length and what follows: every block has at least 12 bytes.
		if _, err := io.ReadFull(from, block[:12]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		kind := order.Uint32(block)
		if kind == headerBlock {
			order = binary.LittleEndian
			if order.Uint32(block[8:]) != byteOrder {
				order = binary.BigEndian
			}
		} else if bytes == 0 {
			return errors.New("not a pcapng file")
		}
		length := int(order.Uint32(block[4:]))
		if length < 12 || length%4 != 0 || length > maxBlock {
			return fmt.Errorf("not a pcapng file: block of %d bytes", length)
		}
		if length > cap(block) {
			block = append(make([]byte, 0, length), block[:12]...)
		}
		block = block[:length]
		if _, err := io.ReadFull(from, block[12:]); err != nil {
			return err
		}
		if _, err := to.Write(block); err != nil {
			return fmt.Errorf("write the capture: %w", err)
		}
		bytes += int64(length)
		if kind == 3 || kind == 6 { // simple and enhanced packets
			packets++
		}
		wrote(bytes, packets)
	}
}
