// Rasterises triangle meshes into an image and a depth buffer. See pear_ros/rendering/renderer.py
// for the documentation.
//
// Corners are snapped to 1/256 px, and edge functions are integers with the top-left rule, so
// triangles that share an edge leave no gap and never draw a pixel twice. Colours are divided by
// the depth, which makes them linear in the image, and multiplied by it in each pixel.

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#define SUBPIXELS 256
#define FARTHEST_PX 2097152.0f  // 2^21: within it, edge functions fit into 64 bits

enum { IN_FRONT, TOO_NEAR, NOWHERE };

typedef struct {
  int32_t x, y;     // 1/256 px
  float inverse_z;  // 1/m
  int32_t state;
} Projected;

typedef struct {
  Projected at;
  float rgb[3];
} Corner;

typedef struct {
  float fx, fy, cx, cy;  // px; pixel (0, 0) has its centre at (0, 0)
  float nearest_m;
} Camera;

typedef struct {
  int32_t width, height;
  uint8_t* rgb;      // height x width x 3
  float* inverse_z;  // height x width, 1/m, 0 without a mesh
  int32_t* person;   // height x width
  int32_t* face;     // height x width
} Image;

typedef struct {
  int32_t begin, end;
} Range;

typedef struct {
  Projected corner[3];
  float rgb_by_z[3][3];
  int32_t person, face;
} Triangle;

static int32_t max32(int32_t a, int32_t b) { return a > b ? a : b; }
static int32_t min32(int32_t a, int32_t b) { return a < b ? a : b; }

static bool is_finite_point(const float* p) {
  return isfinite(p[0]) && isfinite(p[1]) && isfinite(p[2]);
}

// p is in metres, optical.
static Projected project(const float* p, const Camera* camera) {
  Projected at = {0, 0, 0, NOWHERE};
  if (!is_finite_point(p)) return at;
  if (p[2] < camera->nearest_m) {
    at.state = TOO_NEAR;
    return at;
  }
  at.inverse_z = 1 / p[2];
  const float u = camera->fx * p[0] * at.inverse_z + camera->cx;
  const float v = camera->fy * p[1] * at.inverse_z + camera->cy;
  if (!(fabsf(u) <= FARTHEST_PX && fabsf(v) <= FARTHEST_PX)) return at;
  at.x = (int32_t)lrintf(u * SUBPIXELS);
  at.y = (int32_t)lrintf(v * SUBPIXELS);
  at.state = IN_FRONT;
  return at;
}

// Edge function: twice the signed area of the triangle a, b, (x, y). It is positive if (x, y) is to
// the right of the line from a to b in the image, whose y axis points down.
static int64_t edge(const Projected* a, const Projected* b, int64_t x, int64_t y) {
  return (int64_t)(b->x - a->x) * (y - a->y) - (int64_t)(b->y - a->y) * (x - a->x);
}

// The least value of an edge function inside. Only top and left edges belong to the triangle.
static int64_t least_inside(const Projected* a, const Projected* b) {
  const bool is_left = b->y < a->y, is_top = b->y == a->y && b->x > a->x;
  return is_left || is_top ? 0 : 1;
}

// The pixels of the image between the smallest and the largest of the three coordinates.
static Range pixels(int32_t a, int32_t b, int32_t c, int32_t size) {
  const int32_t first = max32(min32(a, min32(b, c)), 0), last = max32(a, max32(b, c));
  if (last < 0) return (Range){0, 0};
  return (Range){(first + SUBPIXELS - 1) / SUBPIXELS, min32(last / SUBPIXELS + 1, size)};
}

static bool has_pixels(const Image* image, const Projected* a, const Projected* b,
                       const Projected* c) {
  const Range columns = pixels(a->x, b->x, c->x, image->width);
  const Range rows = pixels(a->y, b->y, c->y, image->height);
  return columns.begin < columns.end && rows.begin < rows.end;
}

static void fill(const Image* image, const Triangle* t, int64_t area) {
  const Projected *a = &t->corner[0], *b = &t->corner[1], *c = &t->corner[2];
  const Range columns = pixels(a->x, b->x, c->x, image->width);
  const Range rows = pixels(a->y, b->y, c->y, image->height);

  // Edge i is opposite to corner i; `least_i` is subtracted, so that inside means 0 or more.
  const int64_t x0 = (int64_t)columns.begin * SUBPIXELS, y0 = (int64_t)rows.begin * SUBPIXELS;
  const int64_t least_a = least_inside(b, c), least_b = least_inside(c, a);
  const int64_t least_c = least_inside(a, b);
  int64_t row_a = edge(b, c, x0, y0) - least_a, row_b = edge(c, a, x0, y0) - least_b;
  int64_t row_c = edge(a, b, x0, y0) - least_c;
  const int64_t right_a = (int64_t)(b->y - c->y) * SUBPIXELS;
  const int64_t right_b = (int64_t)(c->y - a->y) * SUBPIXELS;
  const int64_t right_c = (int64_t)(a->y - b->y) * SUBPIXELS;
  const int64_t down_a = (int64_t)(c->x - b->x) * SUBPIXELS;
  const int64_t down_b = (int64_t)(a->x - c->x) * SUBPIXELS;
  const int64_t down_c = (int64_t)(b->x - a->x) * SUBPIXELS;

  const float per_area = 1.0f / (float)area;
  const float inverse_b = b->inverse_z - a->inverse_z, inverse_c = c->inverse_z - a->inverse_z;
  for (int32_t y = rows.begin; y < rows.end; y++) {
    int64_t in_a = row_a, in_b = row_b, in_c = row_c;
    for (int32_t x = columns.begin; x < columns.end; x++) {
      if ((in_a | in_b | in_c) >= 0) {
        const float weight_b = (float)(in_b + least_b) * per_area;
        const float weight_c = (float)(in_c + least_c) * per_area;
        const float inverse_z = a->inverse_z + weight_b * inverse_b + weight_c * inverse_c;
        const int64_t pixel = (int64_t)y * image->width + x;
        if (inverse_z > image->inverse_z[pixel]) {
          const float weight_a = 1 - weight_b - weight_c, z = 1 / inverse_z;
          image->inverse_z[pixel] = inverse_z;
          image->person[pixel] = t->person;
          image->face[pixel] = t->face;
          for (int i = 0; i < 3; i++) {
            const float value = weight_a * t->rgb_by_z[0][i] + weight_b * t->rgb_by_z[1][i] +
                                weight_c * t->rgb_by_z[2][i];
            image->rgb[3 * pixel + i] = (uint8_t)(int32_t)fminf(value * z + 0.5f, 255.0f);
          }
        }
      }
      in_a += right_a, in_b += right_b, in_c += right_c;
    }
    row_a += down_a, row_b += down_b, row_c += down_c;
  }
}

// Draws the triangle if it is seen from outside: then its corners a, b, c are counterclockwise on
// the screen, so the edge function of a, c is positive at b.
static void draw(const Image* image, const Corner* a, const Corner* b, const Corner* c,
                 int32_t person, int32_t face) {
  const int64_t area = edge(&a->at, &c->at, b->at.x, b->at.y);
  if (area <= 0) return;
  const Corner* corners[3] = {a, c, b};
  Triangle t = {.person = person, .face = face};
  for (int i = 0; i < 3; i++) {
    t.corner[i] = corners[i]->at;
    for (int j = 0; j < 3; j++) t.rgb_by_z[i][j] = corners[i]->rgb[j] * t.corner[i].inverse_z;
  }
  fill(image, &t, area);
}

// The point at which an edge crosses the near plane. It is always computed from the corner in front
// of the plane, so that two triangles that share the edge get the same point.
static Corner cut(const float* front, const Corner* c_front, const float* back,
                  const Corner* c_back, const Camera* camera) {
  const float part = (camera->nearest_m - front[2]) / (back[2] - front[2]);
  float point[3];
  for (int i = 0; i < 2; i++) point[i] = front[i] + part * (back[i] - front[i]);
  point[2] = camera->nearest_m;
  Corner corner = {.at = project(point, camera)};
  for (int i = 0; i < 3; i++)
    corner.rgb[i] = c_front->rgb[i] + part * (c_back->rgb[i] - c_front->rgb[i]);
  return corner;
}

static void draw_cut(const Image* image, const Camera* camera, const float* const points[3],
                     const Corner corners[3], int32_t person, int32_t face) {
  Corner kept[4];
  int count = 0;
  for (int i = 0; i < 3; i++) {
    const int j = (i + 1) % 3;
    const bool is_here = corners[i].at.state == IN_FRONT, is_next = corners[j].at.state == IN_FRONT;
    if (is_here) kept[count++] = corners[i];
    if (is_here == is_next) continue;
    const int front = is_here ? i : j, back = is_here ? j : i;
    kept[count] = cut(points[front], &corners[front], points[back], &corners[back], camera);
    if (kept[count++].at.state != IN_FRONT) return;
  }
  for (int i = 2; i < count; i++) draw(image, &kept[0], &kept[i - 1], &kept[i], person, face);
}

// Unit normals: the area-weighted mean of the normals of the vertex's faces, on the side from which
// the corners are counterclockwise; 0 for a vertex whose faces have no area.
void pear_vertex_normals(int32_t num_vertices, const float* vertices, int32_t num_faces,
                         const int32_t* faces, float* normals) {
  for (int64_t i = 0; i < 3 * (int64_t)num_vertices; i++) normals[i] = 0;
  for (int64_t f = 0; f < num_faces; f++) {
    const int32_t* face = faces + 3 * f;
    const float *a = vertices + 3 * (int64_t)face[0], *b = vertices + 3 * (int64_t)face[1];
    const float* c = vertices + 3 * (int64_t)face[2];
    const float u[3] = {b[0] - a[0], b[1] - a[1], b[2] - a[2]};
    const float v[3] = {c[0] - a[0], c[1] - a[1], c[2] - a[2]};
    const float n[3] = {u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2],
                        u[0] * v[1] - u[1] * v[0]};
    if (!is_finite_point(n)) continue;
    for (int i = 0; i < 3; i++)
      for (int j = 0; j < 3; j++) normals[3 * (int64_t)face[i] + j] += n[j];
  }
  for (int64_t i = 0; i < num_vertices; i++) {
    float* n = normals + 3 * i;
    const float length = sqrtf(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]);
    for (int j = 0; j < 3; j++) n[j] = length > 0 ? n[j] / length : 0;
  }
}

// Draws one mesh. `projected` is a work buffer of num_vertices; `face_rgb` may be null.
void pear_draw_mesh(const Image* image, const Camera* camera, int32_t person, int32_t num_vertices,
                    const float* vertices, const float* vertex_rgb, int32_t num_faces,
                    const int32_t* faces, const float* face_rgb, Projected* projected) {
  for (int64_t i = 0; i < num_vertices; i++) projected[i] = project(vertices + 3 * i, camera);
  for (int32_t f = 0; f < num_faces; f++) {
    const int32_t* face = faces + 3 * (int64_t)f;
    const Projected *a = projected + face[0], *b = projected + face[1], *c = projected + face[2];
    if (a->state == NOWHERE || b->state == NOWHERE || c->state == NOWHERE) continue;
    const int near = (a->state == TOO_NEAR) + (b->state == TOO_NEAR) + (c->state == TOO_NEAR);
    if (near == 3) continue;
    // Skip triangles early: most are seen from inside or contain no centre of a pixel.
    if (near == 0 && (edge(a, c, b->x, b->y) <= 0 || !has_pixels(image, a, b, c))) continue;

    Corner corners[3];
    const float* points[3];
    for (int i = 0; i < 3; i++) {
      points[i] = vertices + 3 * (int64_t)face[i];
      corners[i].at = projected[face[i]];
      for (int j = 0; j < 3; j++) {
        const float rgb = vertex_rgb[3 * (int64_t)face[i] + j];
        corners[i].rgb[j] = face_rgb ? rgb * face_rgb[3 * (int64_t)f + j] : rgb;
      }
    }
    if (near)
      draw_cut(image, camera, points, corners, person, f);
    else
      draw(image, &corners[0], &corners[1], &corners[2], person, f);
  }
}
