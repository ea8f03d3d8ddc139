// RVL, a lossless compression of depth images. See pear_ros/images/rvl.py for the documentation.

#include <stdint.h>
#include <string.h>

enum { MOST_BITS = 30 };  // of a number

typedef struct {
  const uint8_t* data;
  int64_t nibbles;  // of whole words
  int64_t at;
} Reader;

// The next number; -1 if the data ends or the number has too many bits.
static int64_t next_number(Reader* reader) {
  int64_t number = 0;
  for (int bits = 0; bits < MOST_BITS && reader->at < reader->nibbles; bits += 3) {
    const int64_t word = reader->at / 8, nibble = reader->at % 8;  // the highest one is the first
    const uint8_t pair = reader->data[4 * word + 3 - nibble / 2];
    const int value = nibble % 2 ? pair & 15 : pair >> 4;
    reader->at++;
    number |= (int64_t)(value & 7) << bits;
    if (value < 8) return number;
  }
  return -1;
}

// data (bytes,) -> values (pixels,). Returns 0 if the data is truncated or damaged, else 1.
int pear_decode_rvl(const uint8_t* data, int64_t bytes, uint16_t* values, int64_t pixels) {
  Reader reader = {data, bytes / 4 * 8, 0};
  uint16_t value = 0;  // of the last pixel that is not 0
  for (int64_t i = 0; i < pixels;) {
    const int64_t zeros = next_number(&reader), others = next_number(&reader);
    if (zeros < 0 || others < 0 || zeros + others > pixels - i) return 0;
    memset(values + i, 0, sizeof(*values) * (size_t)zeros);
    i += zeros;
    for (const int64_t end = i + others; i < end; i++) {
      const int64_t folded = next_number(&reader);
      if (folded < 0) return 0;
      value = (uint16_t)(value + ((folded >> 1) ^ -(folded & 1)));
      values[i] = value;
    }
  }
  return 1;
}
