// Blend shapes and linear blend skinning on a CPU. See pear_ros/body/skinning.py for the
// documentation.
//
// For one person, reading the blend shapes from memory takes most of the time. So a block of
// vertices is blended and skinned for all people while its blend shapes are in the cache. Only
// joints with a weight are read.

#include <stdint.h>

#include "widths.h"

enum { BLOCK = 64, LANES = 3 * BLOCK };  // vertices of a block; their coordinates

typedef struct {
  int32_t num_vertices, num_columns, num_joints;
  const float* directions;  // blend shapes: columns x vertices x 3
  const int32_t* first;     // vertices + 1: index of each vertex's first weight
  const int32_t* joints;    // the joint of each weight
  const float* weights;
} Surface;

// `at` (size) += sum of coefficient * direction over the columns, whose distance is `stride`.
INLINE void blend(float* restrict at, int64_t size, int32_t num_columns, int64_t stride,
                  const float* restrict directions, const float* restrict coefficients) {
  int32_t k = 0;
  for (; k + 4 <= num_columns; k += 4) {  // four columns at a time keep more reads in flight
    const float *a = directions + k * stride, *b = a + stride, *c = b + stride, *d = c + stride;
    const float* factor = coefficients + k;
    for (int64_t i = 0; i < size; i++)
      at[i] += factor[0] * a[i] + factor[1] * b[i] + factor[2] * c[i] + factor[3] * d[i];
  }
  for (; k < num_columns; k++)
    for (int64_t i = 0; i < size; i++) at[i] += coefficients[k] * directions[k * stride + i];
}

// `posed` (3) = `at` (3) moved by the weighted mean of the joints' transforms (3 x 4).
INLINE void skin(const Surface* s, int64_t vertex, const float* restrict transforms,
                 const float* restrict at, float* restrict posed) {
  float mean[12] = {0};
  for (int32_t j = s->first[vertex]; j < s->first[vertex + 1]; j++) {
    const float* transform = transforms + 12 * s->joints[j];
    for (int i = 0; i < 12; i++) mean[i] += s->weights[j] * transform[i];
  }
  for (int i = 0; i < 3; i++) {
    const float* row = mean + 4 * i;
    posed[i] = row[0] * at[0] + row[1] * at[1] + row[2] * at[2] + row[3];
  }
}

// rest (count, vertices, 3), coefficients (count, columns), transforms (count, joints, 3, 4)
// -> posed (count, vertices, 3), which must not overlap the inputs.
FOR_EACH_WIDTH
void pear_pose_surface(const Surface* s, int32_t count, const float* rest,
                       const float* coefficients, const float* transforms, float* posed) {
  const int64_t num_vertices = s->num_vertices;
  for (int64_t begin = 0; begin < num_vertices; begin += BLOCK) {
    const int64_t left = num_vertices - begin, size = left < BLOCK ? left : BLOCK;
    for (int64_t n = 0; n < count; n++) {
      const int64_t start = 3 * (n * num_vertices + begin);
      float at[LANES];
      for (int64_t i = 0; i < 3 * size; i++) at[i] = rest[start + i];
      blend(at, 3 * size, s->num_columns, 3 * num_vertices, s->directions + 3 * begin,
            coefficients + n * s->num_columns);
      for (int64_t i = 0; i < size; i++)
        skin(s, begin + i, transforms + 12 * n * s->num_joints, at + 3 * i, posed + start + 3 * i);
    }
  }
}
