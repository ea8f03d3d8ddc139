// Bilinear crops on a CPU. See pear_ros/images/crop.py for the documentation.

#include <stdint.h>

#include "widths.h"

enum { CROP_SIZE = 256, CROP_VALUES = 3 * CROP_SIZE };  // px; values of a row

// Samples along an axis: the pixels before and after each sample, and their weights.
typedef struct {
  int32_t pixels[2][CROP_SIZE];
  float weights[2][CROP_SIZE];
} Samples;

// Interpolates a row of an image: (width, 3) -> (256, 3).
INLINE void interpolate(const uint8_t* restrict row, const Samples* columns, float* restrict out) {
  for (int i = 0; i < CROP_SIZE; i++) {
    const uint8_t* before = row + 3 * (int64_t)columns->pixels[0][i];
    const uint8_t* behind = row + 3 * (int64_t)columns->pixels[1][i];
    for (int c = 0; c < 3; c++)
      out[3 * i + c] = columns->weights[0][i] * before[c] + columns->weights[1][i] * behind[c];
  }
}

// image (height, width, 3) -> crop (256, 256, 3). The two image rows of a sample are neighbours or
// equal. Interpolated rows are kept for the next rows of the crop, so each is interpolated once.
FOR_EACH_WIDTH
void pear_cut_crop(const uint8_t* image, int32_t width, const Samples* rows, const Samples* columns,
                   uint8_t* crop) {
  float kept[2][CROP_VALUES];  // the latest even and the latest odd row
  int32_t row_of[2] = {-1, -1};
  for (int i = 0; i < CROP_SIZE; i++, crop += CROP_VALUES) {
    for (int side = 0; side < 2; side++) {
      const int32_t row = rows->pixels[side][i];
      if (row_of[row % 2] == row) continue;
      interpolate(image + 3 * (int64_t)width * row, columns, kept[row % 2]);
      row_of[row % 2] = row;
    }
    const float above = rows->weights[0][i], below = rows->weights[1][i];
    const float* upper = kept[rows->pixels[0][i] % 2];
    const float* lower = kept[rows->pixels[1][i] % 2];
    for (int k = 0; k < CROP_VALUES; k++)
      crop[k] = (uint8_t)(above * upper[k] + below * lower[k] + 0.5f);
  }
}
