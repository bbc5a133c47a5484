// The steps beside the network on the GPU: camera image to network input, network output to masks.
//
// The rules are those of preprocess.py, mask_kernels.py, unsure_kernels.py and instance_kernels.py, which say why they are right. Every
// choice between classes or centres is made in the same float64 and integer arithmetic, in the same order and without
// fused multiply-adds, and every count is an integer: so the outcome depends on no order of threads. Only confidence may
// differ, by one of 255 levels, since exponentials between cells are rounded differently.
//
// One thread per element and no barrier, no shared memory, no header: a C++ compiler takes this file for the CPU, too.

typedef unsigned char uint8;
typedef unsigned short uint16;
typedef unsigned int uint32;
typedef long long int64;

#define VOID_CLASS 255
#define SUBPIXELS 16
#define LOGITS_NOT_FINITE 1
#define OFFSET_NOT_FINITE 2
#define HEATMAP_NOT_FINITE 4
#define TALLY_RUN 64  // columns that a thread of tally_segments counts
#define FLOAT_SAFE 1e37f  // numbers below do not overflow when they are mixed
#define KERNEL extern "C" __global__ void

enum { AREA, CONFIDENCE, LEFT, TOP, RIGHT, BOTTOM, TALLY_COLUMNS };

__device__ inline int thread_index() { return (int)(blockIdx.x * blockDim.x + threadIdx.x); }
__device__ inline int smaller(int a, int b) { return a < b ? a : b; }
__device__ inline int larger(int a, int b) { return a > b ? a : b; }

// Camera image, packed pixels of pixel_bytes bytes in rows of row_bytes, the channels at their own bytes of a pixel;
// to target uint8 [height, width, 3] RGB. halvings_y, halvings_x: how often the height and the width are
// halved after the bilinear resize.
struct Resize {
    const uint8 *source;
    uint8 *target;
    int row_bytes, pixel_bytes, red, green, blue;
    int source_height, source_width, height, width, halvings_y, halvings_x;
};

// Where a sample falls between two source pixels along one axis.
struct Between {
    int low, high;
    float weight;
};

__device__ inline Between between(int at, float scale, int length) {
    float place = ((float)at + 0.5f) * scale - 0.5f;
    place = place < 0.0f ? 0.0f : place;
    int low = smaller((int)place, length - 1);
    Between result = {low, smaller(low + 1, length - 1), low == length - 1 ? 0.0f : place - (float)low};
    return result;
}

__device__ inline int sample(const Resize &r, const Between &down, const Between &across, int channel) {
    const uint8 *upper = r.source + (int64)down.low * r.row_bytes + channel;
    const uint8 *lower = r.source + (int64)down.high * r.row_bytes + channel;
    int left = across.low * r.pixel_bytes, right = across.high * r.pixel_bytes;
    float above = (float)upper[left] + ((float)upper[right] - (float)upper[left]) * across.weight;
    float below = (float)lower[left] + ((float)lower[right] - (float)lower[left]) * across.weight;
    return (int)(above + (below - above) * down.weight + 0.5f);
}

KERNEL resize_image(const Resize r) {
    int i = thread_index();
    if (i >= r.height * r.width) return;
    int y = i / r.width, x = i % r.width, rows = 1 << r.halvings_y, columns = 1 << r.halvings_x;
    int halvings = r.halvings_y + r.halvings_x, half = rows * columns / 2;
    float scale_y = (float)r.source_height / (float)(r.height * rows);
    float scale_x = (float)r.source_width / (float)(r.width * columns);
    int red = half, green = half, blue = half;
    for (int row = y * rows; row < (y + 1) * rows; row++) {
        Between down = between(row, scale_y, r.source_height);
        for (int column = x * columns; column < (x + 1) * columns; column++) {
            Between across = between(column, scale_x, r.source_width);
            red += sample(r, down, across, r.red);
            green += sample(r, down, across, r.green);
            blue += sample(r, down, across, r.blue);
        }
    }
    r.target[3 * i] = (uint8)(red >> halvings);
    r.target[3 * i + 1] = (uint8)(green >> halvings);
    r.target[3 * i + 2] = (uint8)(blue >> halvings);
}

// All that the decode of one image reads and writes. Grid [h, w] of cells, mask [height, width] of pixels.
struct Decode {
    const float *logits;   // [classes, h, w]
    const float *heatmap;  // [h, w]
    const float *offset;   // [2, h, w] = (dy, dx) in px of the network's input
    const uint8 *is_thing, *is_ground;           // [256] by class
    const int *low_y, *low_x;                    // [height], [width]: the cell above, left of a pixel
    const double *weight_y, *weight_x;           // [height], [width]: share of the cell below, right of it
    uint8 *winner;                               // [h, w]
    float *peak, *share, *ground;                // [h, w]: the winner's logit and probability, that of all ground classes
    int *peak_cells;                             // [h * w]: maxima of the heatmap, in no order
    int *centers;                                // [max_instances, 2] = (y, x) in 1/SUBPIXELS of a pixel
    int *votes;                                  // [2, h, w], likewise
    uint16 *elected;                             // [h, w]: the centre nearest to the vote
    uint32 *class_sets, *center_sets;            // [h, w, words]: bit k: k can win between a cell and the next ones
    uint8 *semantic, *confidence;                // [height, width]
    uint16 *instance;                            // [height, width]
    int64 *tally;                                // [max_instances + 1, classes, TALLY_COLUMNS]
    int64 *areas;                                // [max_instances]
    double *scores;                              // [max_instances]
    uint16 *numbers;                             // [max_instances + 1]: a segment's id by 1 + its centre
    int *state;                                  // [2]: number of peaks; *_NOT_FINITE
    double center_threshold, least_thing_area;   // least_thing_area in px
    double cell_height, cell_width;              // in px of the mask
    double vote_scale_y, vote_scale_x, reach;    // px of the mask per px of the network's input; longest move in px
    double least_ground;                         // probability of ground below which another class is told
    int classes, h, w, height, width;
    int radius, max_instances, least_confidence, with_confidence, with_instances;
};

__device__ inline int center_count(const Decode &d) { return smaller(d.state[0], d.max_instances); }
__device__ inline int words(int count) { return (count + 31) / 32; }

KERNEL reset(const Decode d) {
    int i = thread_index();
    if (i < 2) d.state[i] = 0;
    if (!d.with_instances || i >= (d.max_instances + 1) * d.classes) return;
    int64 *entry = d.tally + (int64)i * TALLY_COLUMNS;
    entry[AREA] = entry[CONFIDENCE] = 0;
    entry[LEFT] = d.width;
    entry[TOP] = d.height;
    entry[RIGHT] = entry[BOTTOM] = -1;
}

// e to the x <= 0, by the CPU's series, so that sums of it are equal.
__device__ inline float quick_exp(float x) {
    x = (x > -16.0f ? x : -16.0f) * (1.0f / 32);
    float y = 1.0f / 24 + x * (1.0f / 120 + x * (1.0f / 720));
    y = 1.0f + x * (1.0f + x * (1.0f / 2 + x * (1.0f / 6 + x * y)));
    for (int i = 0; i < 5; i++) y *= y;
    return y;
}

KERNEL score_cells(const Decode d) {
    int cell = thread_index(), cells = d.h * d.w;
    if (cell >= cells) return;
    int best = 0;
    float top = d.logits[cell], total = 0.0f, ground = 0.0f;
    bool finite = true;
    for (int k = 1; k < d.classes; k++) {
        float here = d.logits[k * cells + cell];
        if (here > top) top = here, best = k;
    }
    for (int k = 0; k < d.classes; k++) {
        float here = d.logits[k * cells + cell];
        finite = finite && isfinite(here);
        float odds = quick_exp(here - top);
        total += odds;
        if (d.is_ground[k]) ground += odds;
    }
    if (!finite) atomicOr(d.state + 1, LOGITS_NOT_FINITE);
    d.winner[cell] = (uint8)best;
    d.peak[cell] = top;
    d.share[cell] = 1.0f / total;
    d.ground[cell] = ground / total;
}

KERNEL find_peaks(const Decode d) {
    int cell = thread_index();
    if (cell >= d.h * d.w) return;
    int row = cell / d.w, column = cell % d.w;
    float value = d.heatmap[cell];
    if (!isfinite(value)) atomicOr(d.state + 1, HEATMAP_NOT_FINITE);
    if (!((double)value >= d.center_threshold)) return;
    for (int r = larger(0, row - d.radius); r < smaller(d.h, row + d.radius + 1); r++) {
        for (int c = larger(0, column - d.radius); c < smaller(d.w, column + d.radius + 1); c++) {
            float other = d.heatmap[r * d.w + c];
            if (other > value || (other == value && r * d.w + c < cell)) return;
        }
    }
    d.peak_cells[atomicAdd(d.state, 1)] = cell;
}

// Peaks come in any order, so each counts those that are better.
KERNEL rank_peaks(const Decode d) {
    int i = thread_index(), found = d.state[0];
    if (i >= found) return;
    int cell = d.peak_cells[i], rank = 0;
    float value = d.heatmap[cell];
    for (int n = 0; n < found; n++) {
        int other = d.peak_cells[n];
        float score = d.heatmap[other];
        rank += score > value || (score == value && other < cell);
    }
    if (rank >= d.max_instances) return;
    d.centers[2 * rank] = (int)rint((cell / d.w + 0.5) * (d.cell_height * SUBPIXELS));
    d.centers[2 * rank + 1] = (int)rint((cell % d.w + 0.5) * (d.cell_width * SUBPIXELS));
}

__device__ inline int cast_vote(const Decode &d, float offset, int at, double cell_px, double scale) {
    double moved = offset * scale;
    if (!isfinite(moved)) {
        atomicOr(d.state + 1, OFFSET_NOT_FINITE);
        return 0;
    }
    moved = fmin(fmax(moved, -d.reach), d.reach);
    return (int)rint(((at + 0.5) * cell_px + moved) * SUBPIXELS);
}

// |vote|^2 - |vote - centre|^2: the nearer, the larger.
__device__ inline int64 closeness(const Decode &d, int cell, int k) {
    int64 y = d.centers[2 * k], x = d.centers[2 * k + 1];
    return 2 * (y * d.votes[cell] + x * d.votes[d.h * d.w + cell]) - (y * y + x * x);
}

KERNEL elect_centers(const Decode d) {
    int cell = thread_index(), cells = d.h * d.w, count = center_count(d);
    if (cell >= cells || count == 0) return;
    d.votes[cell] = cast_vote(d, d.offset[cell], cell / d.w, d.cell_height, d.vote_scale_y);
    d.votes[cells + cell] = cast_vote(d, d.offset[cells + cell], cell % d.w, d.cell_width, d.vote_scale_x);
    int best = 0;
    int64 most = closeness(d, cell, 0);
    for (int k = 1; k < count; k++) {
        int64 value = closeness(d, cell, k);
        if (value > most) most = value, best = k;
    }
    d.elected[cell] = (uint16)best;
}

// What is upsampled: value(cell, k) is that of k at a cell. float64 holds either kind of Number without rounding.
struct Logits {
    typedef float Number;
    const Decode &d;
    __device__ Number value(int cell, int k) const { return d.logits[k * d.h * d.w + cell]; }
};

// Cells that are no things were taught no offsets: of four cells only those of things vote, all where none is one.
struct Closeness {
    typedef int64 Number;
    const Decode &d;
    bool all_vote;
    __device__ bool votes(int cell) const { return all_vote || d.is_thing[d.winner[cell]]; }
    __device__ Number value(int cell, int k) const { return votes(cell) ? closeness(d, cell, k) : 0; }
};

// The four cells around pixels: upper left, upper right, lower left, lower right.
struct Corners {
    int cell[4];
};

__device__ inline Corners corners_of(const Decode &d, int row, int column) {
    int low_row = smaller(row + 1, d.h - 1) * d.w, right = smaller(column + 1, d.w - 1);
    Corners corners = {{row * d.w + column, row * d.w + right, low_row + column, low_row + right}};
    return corners;
}

// Who wins at each of four corners.
struct Winners {
    int at[4];
    __device__ bool agree() const { return at[0] == at[1] && at[0] == at[2] && at[0] == at[3]; }
};

__device__ inline Winners classes_at(const Decode &d, const Corners &c) {
    Winners winners;
    for (int i = 0; i < 4; i++) winners.at[i] = d.winner[c.cell[i]];
    return winners;
}

__device__ inline Closeness closeness_between(const Decode &d, const Corners &c) {
    Closeness values = {d, true};
    for (int i = 0; i < 4; i++) values.all_vote = values.all_vote && !d.is_thing[d.winner[c.cell[i]]];
    return values;
}

// The centre that each corner elects, a voter's in the place of one that does not vote.
__device__ inline Winners centers_at(const Closeness &values, const Corners &c) {
    int some = 0;
    Winners winners;
    for (int i = 0; i < 4; i++) {
        if (values.votes(c.cell[i])) some = values.d.elected[c.cell[i]];
    }
    for (int i = 0; i < 4; i++) winners.at[i] = values.votes(c.cell[i]) ? values.d.elected[c.cell[i]] : some;
    return winners;
}

template <typename Values>
__device__ bool can_win(const Values &values, const Winners &winners, const Corners &c, int k) {
    for (int i = 0; i < 4; i++) {
        if (winners.at[i] == k) return true;
    }
    typename Values::Number own[4];
    for (int n = 0; n < 4; n++) own[n] = values.value(c.cell[n], k);
    for (int i = 0; i < 4; i++) {
        int rival = winners.at[i];
        bool at_least = true, above = true;
        for (int n = 0; n < 4; n++) {
            typename Values::Number other = values.value(c.cell[n], rival);
            at_least = at_least && other >= own[n];
            above = above && other > own[n];
        }
        if (above || (at_least && rival < k)) return false;
    }
    return true;
}

// The set of those of 32 that can win between four corners that disagree.
template <typename Values>
__device__ uint32 candidates(const Values &values, const Winners &winners, const Corners &c, int first, int count) {
    uint32 set = 0;
    for (int k = first; k < smaller(count, first + 32); k++) {
        if (can_win(values, winners, c, k)) set |= 1u << (k - first);
    }
    return set;
}

// A thread for each 32 classes, or centres, of a cell.
KERNEL find_class_candidates(const Decode d) {
    int i = thread_index(), first = i % words(d.classes) * 32, cell = i / words(d.classes);
    if (cell >= d.h * d.w) return;
    Corners corners = corners_of(d, cell / d.w, cell % d.w);
    Winners winners = classes_at(d, corners);
    Logits values = {d};
    if (!winners.agree()) d.class_sets[i] = candidates(values, winners, corners, first, d.classes);
}

KERNEL find_center_candidates(const Decode d) {
    int i = thread_index(), first = i % words(d.max_instances) * 32, cell = i / words(d.max_instances);
    if (cell >= d.h * d.w || first >= center_count(d)) return;
    Corners corners = corners_of(d, cell / d.w, cell % d.w);
    Closeness values = closeness_between(d, corners);
    Winners winners = centers_at(values, corners);
    if (!winners.agree()) d.center_sets[i] = candidates(values, winners, corners, first, center_count(d));
}

struct Pixel {
    int cell;
    Corners corners;
    double weight_y, weight_x;
};

template <typename Number>
__device__ inline Number mix(Number a, Number b, Number c, Number d, Number down, Number right) {
    Number left_side = a * (1 - down) + c * down, right_side = b * (1 - down) + d * down;
    return left_side * (1 - right) + right_side * right;
}

// Value of candidate k at a pixel, and the largest size of it at a corner.
template <typename Number>
struct Mixed {
    Number here, size;
};

template <typename Number, typename Values>
__device__ inline Mixed<Number> value_at(const Values &values, const Pixel &p, int k, Number down, Number right) {
    Number at[4], size = 0;
    for (int i = 0; i < 4; i++) {
        at[i] = (Number)values.value(p.corners.cell[i], k);
        size = at[i] > size ? at[i] : -at[i] > size ? -at[i] : size;
    }
    Mixed<Number> mixed = {mix(at[0], at[1], at[2], at[3], down, right), size};
    return mixed;
}

// The largest of a set of candidates, ties to the lowest. beyond: how far it is above the next; size: of all corners.
template <typename Number>
struct Largest {
    int k;
    Number beyond, size;
};

template <typename Number, typename Values>
__device__ Largest<Number> largest_in(const Values &values, const Pixel &p, int count, const uint32 *set) {
    Number down = (Number)p.weight_y, right = (Number)p.weight_x, most = 0;
    Largest<Number> best = {-1, 0, 0};
    for (int word = 0; word < words(count); word++) {
        for (uint32 left = set[word]; left; left &= left - 1) {
            int k = word * 32 + __ffs((int)left) - 1;
            Mixed<Number> mixed = value_at(values, p, k, down, right);
            Number above = mixed.here - most;
            best.size = best.size > mixed.size ? best.size : mixed.size;
            if (best.k < 0) {
                most = mixed.here, best.k = k, best.beyond = 2 * FLOAT_SAFE;
            } else if (above > 0) {
                most = mixed.here, best.k = k, best.beyond = above;
            } else if (!(-above >= best.beyond)) {
                best.beyond = -above;
            }
        }
    }
    return best;
}

// The rule is float64's, whose units are few on a robot's GPU. Its winner is also float32's where that is ahead by more
// than both can be off. An input, a weight or a result is off by at most 2^-24 of size, and a mix has less than 16 of
// them: so two values together by less than 2^-19 of size; gradual underflow adds less than 1e-37.
template <typename Values>
__device__ int largest(const Values &values, const Pixel &p, int count, const uint32 *set) {
    Largest<float> quick = largest_in<float>(values, p, count, set);
    if (quick.size < FLOAT_SAFE && quick.beyond > quick.size * (1.0f / (1 << 18)) + 1e-37f) return quick.k;
    return largest_in<double>(values, p, count, set).k;
}

// 255 times the upsampled softmax probability of class k, rounded.
__device__ inline uint8 confidence_of(const Decode &d, const Pixel &p, int k, bool all_win) {
    float at[4];
    for (int i = 0; i < 4; i++) {
        int cell = p.corners.cell[i];
        float rest = all_win ? 1.0f : expf(d.logits[k * d.h * d.w + cell] - d.peak[cell]);
        at[i] = 255.0f * rest * d.share[cell];
    }
    return (uint8)(mix(at[0], at[1], at[2], at[3], (float)p.weight_y, (float)p.weight_x) + 0.5f);
}

// Whether ground is less likely at a pixel than asked for; between four cells that all have as much it is not.
__device__ inline bool is_unsure_ground(const Decode &d, const Pixel &p) {
    float least = (float)d.least_ground, at[4];
    bool enough = true;
    for (int i = 0; i < 4; i++) {
        at[i] = d.ground[p.corners.cell[i]];
        enough = enough && at[i] >= least;
    }
    return !enough && !(mix(at[0], at[1], at[2], at[3], (float)p.weight_y, (float)p.weight_x) >= least);
}

// The class that is no ground and has the largest logit, VOID_CLASS where all are ground. Few pixels ask, so float64 may.
__device__ int likeliest_other(const Decode &d, const Pixel &p) {
    Logits logits = {d};
    int best = VOID_CLASS;
    double most = 0;
    for (int k = 0; k < d.classes; k++) {
        if (d.is_ground[k]) continue;
        double here = value_at(logits, p, k, p.weight_y, p.weight_x).here;
        if (best == VOID_CLASS || here > most) most = here, best = k;
    }
    return best;
}

KERNEL paint_masks(const Decode d) {
    int i = thread_index();
    if (i >= d.height * d.width) return;
    int y = i / d.width, x = i % d.width, row = d.low_y[y], column = d.low_x[x];
    Pixel p = {row * d.w + column, corners_of(d, row, column), d.weight_y[y], d.weight_x[x]};
    Logits logits = {d};
    bool all_win = classes_at(d, p.corners).agree();
    int k = all_win ? d.winner[p.cell] : largest(logits, p, d.classes, d.class_sets + p.cell * words(d.classes));
    int sure = k;  // whose confidence is told
    if (d.least_ground > 0 && d.is_ground[k] && is_unsure_ground(d, p)) {
        k = likeliest_other(d, p);
        if (k != VOID_CLASS) sure = k, all_win = false;
    }
    if (d.with_confidence) {
        d.confidence[i] = confidence_of(d, p, sure, all_win);
        if (d.confidence[i] < d.least_confidence) k = VOID_CLASS;
    }
    d.semantic[i] = (uint8)k;
    if (!d.with_instances) return;
    int count = center_count(d), chosen = -1;
    if (count > 0 && d.is_thing[k]) {
        Closeness near = closeness_between(d, p.corners);
        Winners winners = centers_at(near, p.corners);
        const uint32 *set = d.center_sets + (int64)p.cell * words(d.max_instances);
        chosen = winners.agree() ? winners.at[0] : largest(near, p, count, set);
    }
    d.instance[i] = (uint16)(chosen + 1);
}

__device__ inline void count_run(const Decode &d, int y, int begin, int end, int k, int instance, int64 total) {
    typedef unsigned long long sum;  // atomicAdd knows no signed one
    int64 *entry = d.tally + ((int64)instance * d.classes + k) * TALLY_COLUMNS;
    atomicAdd((sum *)(entry + AREA), (sum)(end - begin));
    atomicAdd((sum *)(entry + CONFIDENCE), (sum)total);
    atomicMin(entry + LEFT, (int64)begin);
    atomicMin(entry + TOP, (int64)y);
    atomicMax(entry + RIGHT, (int64)(end - 1));
    atomicMax(entry + BOTTOM, (int64)y);
}

// Pixels of equal segment in a row are counted at once: one by one, all threads would wait for the same few sums.
KERNEL tally_segments(const Decode d) {
    int runs = (d.width + TALLY_RUN - 1) / TALLY_RUN, i = thread_index();
    if (i >= d.height * runs) return;
    int y = i / runs, x = i % runs * TALLY_RUN, end = smaller(d.width, x + TALLY_RUN);
    int64 row = (int64)y * d.width;
    while (x < end) {
        int begin = x, k = d.semantic[row + x], instance = d.instance[row + x];
        int64 total = 0;
        for (; x < end && d.semantic[row + x] == k && d.instance[row + x] == instance; x++) {
            total += d.confidence[row + x];
        }
        if (k != VOID_CLASS) count_run(d, y, begin, x, k, instance, total);
    }
}

KERNEL score_things(const Decode d) {
    int n = thread_index();
    if (n >= center_count(d)) return;
    int64 area = 0, total = 0;
    for (int k = 0; k < d.classes; k++) {
        const int64 *entry = d.tally + ((int64)(n + 1) * d.classes + k) * TALLY_COLUMNS;
        area += entry[AREA];
        total += entry[CONFIDENCE];
    }
    d.areas[n] = area;
    d.scores[n] = (double)total / (double)(255 * (area > 0 ? area : 1));
}

// Ids by falling score, ties to the better centre; 0 for what is too small.
KERNEL number_things(const Decode d) {
    int n = thread_index(), count = center_count(d);
    if (n >= count) return;
    int rank = 0;
    for (int other = 0; other < count; other++) {
        bool before = d.scores[other] > d.scores[n] || (d.scores[other] == d.scores[n] && other < n);
        rank += before && (double)d.areas[other] >= d.least_thing_area;
    }
    d.numbers[n + 1] = (double)d.areas[n] >= d.least_thing_area ? (uint16)(rank + 1) : 0;
}

KERNEL renumber(const Decode d) {
    int i = thread_index();
    if (i >= d.height * d.width) return;
    if (d.instance[i]) d.instance[i] = d.numbers[d.instance[i]];
}
