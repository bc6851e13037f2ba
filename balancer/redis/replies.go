package redis

import (
	"bytes"
	"errors"
	"net"
	"strconv"
	"syscall"
)

// go-redis allocates what the head of a reply announces before the rest has come, and reads
// lists in lists by recursion. A server that is no Redis, or has lost its mind, could so end
// the process. Redis itself answers a relay with far less than these bounds.
const (
	maxReplyText     = 64 << 20 // bytes of one text
	maxReplyLine     = 64 << 10 // bytes of a head, or of a reply of one line
	maxReplyElements = 1 << 20  // of all lists of a reply
	maxReplyDepth    = 16       // of lists in lists
)

var errReply = errors.New("not an answer of Redis")

// replyConn is a connection to Redis that fails at a reply that no Redis gives.
type replyConn struct {
	net.Conn
	replies replyChecker
}

// checkReplies returns a connection that fails at a reply that no Redis gives. go-redis sees
// by SyscallConn, if there is one, that a connection that it kept has been closed.
func checkReplies(conn net.Conn) net.Conn {
	checked := &replyConn{Conn: conn}
	if raw, ok := conn.(syscall.Conn); ok {
		return struct {
			*replyConn
			syscall.Conn
		}{checked, raw}
	}
	return checked
}

func (c *replyConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if bad := c.replies.next(p[:n]); bad != nil {
		return 0, bad
	}
	return n, err
}

// replyChecker follows the replies on a connection, in RESP2 or, of a sentinel, in RESP3.
type replyChecker struct {
	line     []byte // of a head, as far as it has come
	text     int    // bytes of a text that have not come
	open     []int  // elements that each list lacks, the outermost list first
	elements int    // of all lists of the reply
}

// next checks what has come next.
func (c *replyChecker) next(p []byte) error {
	for len(p) > 0 {
		if c.text > 0 {
			n := min(c.text, len(p))
			p = p[n:]
			if c.text -= n; c.text == 0 {
				c.end()
			}
			continue
		}
		n := bytes.IndexByte(p, '\n') + 1
		whole := n > 0
		if !whole {
			n = len(p)
		}
		if c.line = append(c.line, p[:n]...); len(c.line) > maxReplyLine {
			return errReply
		}
		p = p[n:]
		if whole {
			if err := c.head(bytes.TrimRight(c.line, "\r\n")); err != nil {
				return err
			}
			c.line = c.line[:0]
		}
	}
	return nil
}

// head checks the head of a reply or of an element.
func (c *replyChecker) head(line []byte) error {
	if len(line) == 0 {
		return errReply
	}
	kind := line[0]
	if bytes.IndexByte([]byte("+-:_#,("), kind) >= 0 { // of one line
		c.end()
		return nil
	}
	n, err := strconv.Atoi(string(line[1:]))
	if err != nil || n < -1 || n > maxReplyText {
		return errReply
	}
	switch kind {
	case '$', '=', '!':
		if n >= 0 {
			c.text = n + len("\r\n")
			return nil
		}
	case '*', '~', '>':
	case '%':
		n *= 2
	case '|': // of attributes, and what has them
		n = 2*n + 1
	default:
		return errReply
	}
	switch {
	case n <= 0:
		c.end()
	case n > maxReplyElements-c.elements, len(c.open) == maxReplyDepth:
		return errReply
	default:
		c.open, c.elements = append(c.open, n), c.elements+n
	}
	return nil
}

// end notes the end of a reply or of an element, and of the lists that end with it.
func (c *replyChecker) end() {
	for last := len(c.open) - 1; last >= 0; last-- {
		if c.open[last]--; c.open[last] > 0 {
			return
		}
		c.open = c.open[:last]
	}
	c.elements = 0
}
