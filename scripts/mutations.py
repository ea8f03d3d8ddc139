"""The table of `scripts/mutate.py`: small wrong changes of the source, and the tests that notice.

The old text occurs once in its file (`test/test_mutations.py`). Name the smallest set of tests that
notices a change: each mutation runs them anew.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """One change of one file."""

    file: str
    old: str
    new: str
    tests: str  # arguments of pytest, separated by spaces
    survives: str = ""  # why no test can notice it; empty: one must

    def __str__(self) -> str:
        text = f"{self.file}: {_line(self.old)} -> {_line(self.new)}"
        return f"{text} ({self.survives})" if self.survives else text


def _line(text: str) -> str:
    return " / ".join(line.strip() for line in text.splitlines()) or "nothing"


MUTATIONS = (
    # --- geometry ---
    Mutation(
        "pear_ros/geometry/rotation.py",
        "b1, value=-1)",
        "b1, value=1)",
        "test/geometry/test_rotation.py",
    ),
    Mutation(
        "pear_ros/geometry/rotation.py",
        "quat_xyzw[:, 1] = m[:, 0, 2] - m[:, 2, 0]",
        "quat_xyzw[:, 1] = m[:, 2, 0] - m[:, 0, 2]",
        "test/geometry/test_rotation.py",
    ),
    Mutation(
        "pear_ros/geometry/rotation.py",
        "aw * by - ax * bz + ay * bw + az * bx",
        "aw * by + ax * bz + ay * bw - az * bx",
        "test/geometry/test_rotation.py",
    ),
    Mutation(
        "pear_ros/geometry/boxes.py",
        "(width - 1, height - 1)",
        "(width, height)",
        "test/geometry/test_boxes.py",
    ),
    Mutation(
        "pear_ros/geometry/boxes.py",
        "shared <= max_iou * (area[rest] + area[i] - shared)",
        "shared <= max_iou * (area[rest] + area[i])",
        "test/geometry/test_boxes.py",
    ),
    Mutation(
        "pear_ros/geometry/crop_camera.py",
        "CROP_MARGIN = 1.25",
        "CROP_MARGIN = 1.2",
        "test/geometry/test_boxes.py",
    ),
    Mutation(
        "pear_ros/geometry/crop_camera.py",
        "centre = crop_xywh[:, :2] + crop_xywh[:, 2:] / 2",
        "centre = crop_xywh[:, :2]",
        "test/geometry/test_camera.py",
    ),
    Mutation(
        "pear_ros/geometry/camera.py",
        "focal_px = max(width, height)",
        "focal_px = min(width, height)",
        "test/geometry/test_camera.py",
    ),
    Mutation(
        "pear_ros/geometry/camera.py",
        "for i in (0, 2, 4, 5)",
        "for i in (0, 2, 4, 2)",
        "test/geometry/test_camera.py",
    ),
    # --- images ---
    Mutation(
        "pear_ros/images/crop.py",
        "(pixels >= limit)]",
        "(pixels > limit)]",
        "test/images/test_crop.py",
    ),
    Mutation(
        "pear_ros/images/crop.py",
        "return (crops + 0.5).to(torch.uint8)",
        "return crops.to(torch.uint8)",
        "test/images/test_crop.py",
    ),
    Mutation(
        "pear_ros/images/decode.py",
        "cv2.COLOR_BGRA2RGB",
        "cv2.COLOR_RGBA2RGB",
        "test/images/test_decode.py",
    ),
    Mutation(
        "pear_ros/images/decode.py",
        '"bayer_rggb8": _Packed(1, _by_opencv(cv2.COLOR_BayerBG2RGB))',
        '"bayer_rggb8": _Packed(1, _by_opencv(cv2.COLOR_BayerRG2RGB))',
        "test/images/test_decode.py",
    ),
    Mutation(
        "src/crop.c",
        "above * upper[k] + below * lower[k] + 0.5f",
        "above * upper[k] + below * lower[k]",
        "test/images/test_crop.py",
    ),
    Mutation(
        "src/crop.c",
        "if (row_of[row % 2] == row) continue;",
        "if (row_of[row % 2] >= 0) continue;",
        "test/images/test_crop.py",
    ),
    # --- detection ---
    Mutation(
        "pear_ros/detection/nanodet_detector.py",
        "MEAN_BGR = (103.53, 116.28, 123.675)",
        "MEAN_BGR = (123.675, 116.28, 103.53)",
        "test/detection/test_nanodet_detector.py::test_recall_and_precision",
    ),
    Mutation(
        "pear_ros/detection/nanodet_detector.py",
        "offset = AGAIN_PX / 2 - scale * centre",
        "offset = AGAIN_PX / 2 - scale * xyxy[:, :2]",
        "test/detection/test_nanodet_detector.py::test_who_is_found_again_is_a_person",
    ),
    Mutation(
        "pear_ros/detection/letterbox.py",
        "[width / image_size[1], height / image_size[0]]",
        "[height / image_size[0], width / image_size[1]]",
        "test/detection/test_letterbox.py",
    ),
    Mutation(
        "pear_ros/detection/yolox.py",
        "scores = cells[:, 4] * cells[:, CLASSES + self.person]",
        "scores = cells[:, CLASSES + self.person]",
        "test/detection/test_yolox.py",
    ),
    Mutation(
        "pear_ros/detection/yolox.py",
        "batch[..., ::-1].transpose",
        "batch.transpose",
        "test/detection/test_yolox.py",
    ),
    Mutation(
        "pear_ros/detection/detr.py",
        "np.array([width, height, width, height], np.float32)",
        "np.array([height, width, height, width], np.float32)",
        "test/detection/test_detr.py",
    ),
    Mutation(
        "pear_ros/detection/cadence.py",
        "since >= every_nth",
        "since > every_nth",
        "test/detection/test_cadence.py",
    ),
    # --- network ---
    Mutation(
        "pear_ros/network/network.py",
        "IMAGE_MEAN = (0.485, 0.456, 0.406)",
        "IMAGE_MEAN = (0.406, 0.456, 0.485)",
        "test/network/test_network.py",
    ),
    Mutation(
        "pear_ros/network/network.py",
        "(c - 255 * mean) / (255 * std)",
        "(c - 255 * mean) / 255",
        "test/network/test_network.py",
    ),
    Mutation(
        "pear_ros/network/backbone.py",
        " + self.pos_embed[:, :1]",
        "",
        "test/network/test_network.py",
    ),
    Mutation(
        "pear_ros/network/head.py",
        "LEFT_HAND_POSE = slice(22, 37)\nRIGHT_HAND_POSE = slice(37, 52)",
        "LEFT_HAND_POSE = slice(37, 52)\nRIGHT_HAND_POSE = slice(22, 37)",
        "test/network/test_network.py",
    ),
    Mutation(
        "pear_ros/network/head.py",
        "JAW_POSE = slice(9, 12)",
        "JAW_POSE = slice(6, 9)",
        "test/network/test_network.py",
    ),
    Mutation(
        "pear_ros/network/head.py",
        "CROP_FOCAL / (scale + INITIAL_SCALE + 1e-9)",
        "CROP_FOCAL / (scale + 1e-9)",
        "test/network/test_network.py",
    ),
    Mutation(
        "pear_ros/network/checkpoint.py",
        'to = dtype if name.startswith("backbone.") else torch.float32',
        "to = dtype",
        "test/network/test_network.py::test_bfloat16_backbone_is_close_to_float32",
    ),
    Mutation(
        "pear_ros/network/checkpoint.py",
        "    forbid_reduced_precision()\n    with",
        "    with",
        "test/system/test_device.py::test_loading_a_network_forbids_reduced_precision",
    ),
    Mutation(
        "pear_ros/network/engine.py",
        "relative.nan_to_num(nan=torch.inf).max().item()",
        "relative.nan_to_num(nan=torch.inf).mean().item()",
        "test/network/test_engine.py::test_the_deviation_is_that_of_the_worst_person",
    ),
    # --- system ---
    Mutation(
        "pear_ros/system/device.py",
        "torch.backends.cuda.matmul.allow_tf32 = False",
        "torch.backends.cuda.matmul.allow_tf32 = True",
        "test/system/test_device.py",
    ),
    Mutation(
        "pear_ros/system/device.py",
        "return torch.float16",
        "return torch.bfloat16",
        "test/system/test_device.py",
    ),
    Mutation(
        "pear_ros/system/files.py",
        "for path in paths:",
        "for path in reversed(paths):",
        "test/system/test_files.py",
    ),
    # --- body ---
    Mutation(
        "pear_ros/body/body_model.py",
        "body_from_head = eyes - head_pose.eyes",
        "body_from_head = head_pose.eyes - eyes",
        "test/body/test_body_model.py::test_bodies_agree_with_the_published",
    ),
    Mutation(
        "pear_ros/body/body_model.py",
        "joint_parts[2][..., NUM_EXPRESSIONS:] = 0",
        "joint_parts[2][..., :NUM_EXPRESSIONS] = 0",
        "test/body/test_body_model.py::test_bodies_agree_with_the_published",
    ),
    Mutation(
        "pear_ros/body/kinematics.py",
        "offset[parents >= 0, parents[parents >= 0]] = -1",
        "offset[parents >= 0, parents[parents >= 0]] = 1",
        "test/body/test_kinematics.py",
    ),
    Mutation(
        "pear_ros/body/frames.py",
        '_axes("left", "backward", "up")',
        '_axes("left", "forward", "down")',
        "test/body/test_frames.py",
    ),
    Mutation(
        "pear_ros/body/frames.py",
        '(JOINT["left_eye"], JOINT["right_eye"])',
        '(JOINT["left_eye"],)',
        "test/body/test_frames.py",
    ),
    Mutation(
        "pear_ros/body/shape_cache.py",
        "not torch.equal(entry.coefficients, coefficients)",
        "not len(coefficients)",
        "test/body/test_shape_cache.py",
    ),
    Mutation(
        "src/skinning.c",
        "for (; k < num_columns; k++)",
        "for (; k + 1 < num_columns; k++)",
        "test/body/test_skinning.py",
    ),
    Mutation(
        "src/skinning.c",
        "left < BLOCK ? left : BLOCK",
        "BLOCK < left ? BLOCK : left - 1",
        "test/body/test_skinning.py",
    ),
    # --- placement ---
    Mutation(
        "pear_ros/placement/reprojection.py",
        "NEAREST_JOINT_M = 0.1",
        "NEAREST_JOINT_M = 0.2",
        "test/placement/test_reprojection.py",
    ),
    Mutation(
        "pear_ros/placement/reprojection.py",
        "FINGER_WEIGHT = 15**-0.5",
        "FINGER_WEIGHT = 1.0",
        "test/placement/test_reprojection.py",
    ),
    Mutation(
        "pear_ros/placement/reprojection.py",
        "GAUSS_NEWTON_STEPS = 4",
        "GAUSS_NEWTON_STEPS = 1",
        "test/placement",
    ),
    Mutation(
        "src/reprojection.c",
        "mean[axis] * translation[2] - off[axis]",
        "mean[axis] * translation[2] + off[axis]",
        "test/placement/test_reprojection.py",
    ),
    Mutation(
        "src/reprojection.c",
        "/ (fourth * fourth)",
        "/ fourth",
        "test/placement/test_reprojection.py",
    ),
    Mutation(
        "src/reprojection.c",
        "j < m->first_finger ? 1 : m->finger_weight",
        "j <= m->first_finger ? 1 : m->finger_weight",
        "test/placement/test_reprojection.py",
    ),
    # --- estimation ---
    Mutation(
        "pear_ros/estimation/estimator.py",
        "cameras.camera_from_crop.to(device)",
        "cameras.camera_from_crop.mT.to(device)",
        "test/estimation/test_estimator.py test/test_pipeline.py",
    ),
    Mutation(
        "pear_ros/estimation/staging.py",
        "sources[i] = first_pixel, width, height",
        "sources[i] = first_pixel, height, width",
        "test/estimation/test_recorded.py",
    ),
    Mutation(
        "pear_ros/estimation/staging.py",
        "        self._on_host[len(rows) : people] = self._padding_row\n",
        "",
        "test/estimation/test_recorded.py",
    ),
    Mutation(
        "pear_ros/estimation/recorded.py",
        "self._steps.clear()  # recordings",
        "# recordings",
        "test/estimation/test_recorded.py",
    ),
    Mutation(
        "pear_ros/estimation/plausibility.py",
        ".clamp(min=0).amax(1)",
        ".clamp(min=0).mean(1)",
        "test/estimation/test_plausibility.py",
    ),
    # --- tracking ---
    Mutation(
        "pear_ros/tracking/tracker.py",
        "self._next_number += len(ready)",
        "self._next_number += min(len(ready), 1)",
        "test/tracking/test_tracker.py::test_numbers_are_never_used_again",
    ),
    Mutation(
        "pear_ros/tracking/tracker.py",
        "LEAST_INSIDE = 0.7",
        "LEAST_INSIDE = 0.0",
        "test/tracking/test_tracker.py::test_who_leaves_the_image_is_not_predicted",
    ),
    Mutation(
        "pear_ros/tracking/tracker.py",
        "tracks[stamp_s - tracks.seen_s <= self._settings.timeout_s]",
        "tracks[stamp_s - tracks.seen_s <= 1000 * self._settings.timeout_s]",
        "test/tracking/test_tracker.py::test_nobody_is_expected_after_the_timeout",
    ),
    Mutation(
        "pear_ros/tracking/motion.py",
        "0.5 * dt**2 * identity",
        "dt**2 * identity",
        "test/tracking/test_motion.py",
    ),
    Mutation(
        "pear_ros/tracking/motion.py",
        "LATERAL_NOISE**2 * (np.eye(3) - along) + DEPTH_NOISE**2 * along",
        "DEPTH_NOISE**2 * (np.eye(3) - along) + LATERAL_NOISE**2 * along",
        "test/tracking/test_motion.py",
    ),
    Mutation(
        "pear_ros/tracking/association.py",
        "matched = finite[rows, columns]",
        "matched = np.ones(len(rows), bool)",
        "test/tracking/test_association.py",
    ),
    Mutation(
        "pear_ros/tracking/one_euro.py",
        "(2 * np.pi * cutoff_hz",
        "(cutoff_hz",
        "test/tracking/test_one_euro.py",
    ),
    Mutation(
        "pear_ros/tracking/one_euro.py",
        "(along, parts[0], parts[1]),",
        "(across, parts[0], parts[1]),",
        "test/tracking/test_one_euro.py",
    ),
    Mutation(
        "pear_ros/tracking/pose_filter.py",
        "(measured.shape - before.mean_shape) / sightings[:, None]",
        "(measured.shape - before.mean_shape) / before.sightings[:, None]",
        "test/tracking/test_pose_filter.py",
    ),
    Mutation(
        "pear_ros/tracking/follower.py",
        "smoothed.translation + followed.moved",
        "smoothed.translation - followed.moved",
        "test/tracking/test_follower.py",
    ),
    Mutation(
        "pear_ros/tracking/follower.py",
        " or self._view[1] != size",
        "",
        "test/tracking/test_follower.py",
    ),
    # --- the step ---
    Mutation(
        "pear_ros/pipeline.py",
        "found.scores >= self.config.detection.min_score",
        "found.scores > self.config.detection.min_score",
        "test/test_pipeline.py",
    ),
    Mutation(
        "pear_ros/pipeline.py",
        "times=int((~good).sum())",
        "times=1",
        "test/test_pipeline.py",
    ),
    Mutation(
        "pear_ros/pipeline.py",
        "finite & ~placed",
        "~placed",
        "test/test_pipeline.py",
    ),
    Mutation(
        "pear_ros/pipeline.py",
        "is_metric=frame.camera.is_metric",
        "is_metric=True",
        "test/test_pipeline.py",
    ),
    Mutation(
        "pear_ros/problems.py",
        "self._counts.get(kind, 0) + times",
        "self._counts.get(kind, 0) + 1",
        "test/test_problems.py",
    ),
    Mutation(
        "pear_ros/config/setting.py",
        "bounds[0] <= value",
        "bounds[0] < value",
        "test/test_config.py",
    ),
    # --- rendering ---
    Mutation(
        "src/renderer.c",
        "is_left || is_top ? 0 : 1",
        "0 * (is_left || is_top)",
        "test/rendering/test_renderer.py",
    ),
    Mutation(
        "src/renderer.c",
        "if (inverse_z > image->inverse_z[pixel])",
        "if (inverse_z > 0)",
        "test/rendering/test_renderer.py",
    ),
    Mutation(
        "src/renderer.c",
        "t.rgb_by_z[i][j] = corners[i]->rgb[j] * t.corner[i].inverse_z",
        "t.rgb_by_z[i][j] = corners[i]->rgb[j] * t.corner[0].inverse_z",
        "test/rendering/test_renderer.py",
    ),
    Mutation(
        "pear_ros/rendering/renderer.py",
        "to_light = -np.array",
        "to_light = np.array",
        "test/rendering/test_renderer.py",
    ),
    Mutation(
        "pear_ros/rendering/overlay.py",
        "cv2.addWeighted(drawn, opacity, image, 1 - opacity, 0)",
        "cv2.addWeighted(image, opacity, drawn, 1 - opacity, 0)",
        "test/rendering/test_overlay.py",
    ),
    # --- offline, evaluation, benchmark ---
    Mutation(
        "pear_ros/offline/infer.py",
        "cv2.cvtColor(image, cv2.COLOR_RGB2BGR)",
        "image",
        "test/offline/test_overlay_pictures.py",
    ),
    Mutation(
        "pear_ros/offline/videos.py",
        "(cv2.CAP_PROP_POS_MSEC) / 1000",
        "(cv2.CAP_PROP_POS_MSEC)",
        "test/offline/test_videos.py",
    ),
    Mutation(
        "pear_ros/evaluation/metrics.py",
        "np.where(np.linalg.det(u @ vt) < 0, -1, 1)",
        "1",
        "test/evaluation/test_metrics.py",
    ),
    Mutation(
        "pear_ros/evaluation/metrics.py",
        'RIGHT_HAND = [JOINT["right_wrist"]',
        'RIGHT_HAND = [JOINT["left_wrist"]',
        "test/evaluation/test_metrics.py",
    ),
    Mutation(
        "pear_ros/evaluation/accuracy.py",
        "LEAST_VISIBLE, LEAST_INSIDE = 0.5, 0.7",
        "LEAST_VISIBLE, LEAST_INSIDE = 0.5, 0.9",
        "test/evaluation/test_accuracy.py::test_people_are_counted_if_they_are_visible_and_inside",
    ),
    Mutation(
        "pear_ros/evaluation/accuracy.py",
        "CROP_SIZE / truth.crop_xywh[:, 2:3]",
        "truth.crop_xywh[:, 2:3] / CROP_SIZE",
        "test/evaluation/test_accuracy.py::test_pixel_errors_are_in_pixels_of_the_crop",
    ),
    Mutation(
        "pear_ros/evaluation/accuracy.py",
        "BOX_JITTER = 0.03",
        "BOX_JITTER = 0.0",
        "test/evaluation/test_accuracy.py::test_boxes_are_off_by_3_percent",
    ),
    Mutation(
        "pear_ros/evaluation/cut_people.py",
        "away_px[truth.inside] / truth.size_px",
        "away_px / truth.size_px",
        "test/evaluation/test_cut_people.py",
    ),
    Mutation(
        "pear_ros/benchmark/report.py",
        "(50, 95, 99)",
        "(50, 90, 99)",
        "test/benchmark/test_benchmark.py::test_percentiles",
    ),
    Mutation(
        "pear_ros/benchmark/measure.py",
        "reference.latency_ms.p50 / pear_ros.latency_ms.p50",
        "pear_ros.latency_ms.p50 / reference.latency_ms.p50",
        "test/benchmark/test_benchmark.py::test_each_implementation_has_its_own_times",
    ),
    # --- synthetic people, annotation, assets, training ---
    Mutation(
        "pear_ros/synthetic/controls.py",
        "rotation if mirror > 0 else _mirrored(rotation)",
        "rotation",
        "test/synthetic/test_scene.py::test_the_same_control_on_the_other_side_is_the_mirrored_movement",
    ),
    Mutation(
        "pear_ros/synthetic/scene.py",
        "self._height_m - lowest",
        "self._height_m + lowest",
        "test/synthetic/test_scene.py::test_people_stand_on_the_floor",
    ),
    Mutation(
        "pear_ros/annotation/quality.py",
        "agree = (apart <= allowed)",
        "agree = (apart >= allowed)",
        "test/annotation/test_quality.py",
    ),
    Mutation(
        "pear_ros/assets/body_assets.py",
        "(parents >= joints).any()",
        "(parents > joints).any()",
        "test/assets/test_body_assets.py test/assets/test_broken_downloads.py",
    ),
    Mutation(
        "training/framing.py",
        "placed[:, 2].min() < NEAREST_M",
        "placed[:, 2].max() < NEAREST_M",
        "test/training/test_framing.py",
    ),
    Mutation(
        "demo/accuracy.py",
        "self._without_tf += len(rows) - len(placed)",
        "self._without_tf += len(placed)",
        "test/ros/test_demo.py",
    ),
    # --- ROS ---
    Mutation(
        "pear_ros/ros/node.py",
        "Clock(clock_type=ClockType.STEADY_TIME)",
        "Clock(clock_type=ClockType.ROS_TIME)",
        "test/ros/test_node_in_process.py",
    ),
    Mutation(
        "pear_ros/ros/node.py",
        "self.create_timer(1.0, self._publish_diagnostics, clock=steady)",
        "self.create_timer(1.0, self._publish_diagnostics)",
        "test/ros/test_node_in_process.py",
    ),
    Mutation(
        "pear_ros/ros/node.py",
        "self.create_timer(0.1, self._tick_cameras, clock=steady)",
        "self.create_timer(0.1, self._tick_cameras)",
        "test/ros/test_node_in_process.py",
    ),
    Mutation(
        "pear_ros/ros/camera_topics.py",
        "            times=lost.total_count_change,\n",
        "",
        "test/ros/test_node_in_process.py",
    ),
    Mutation(
        "pear_ros/ros/camera_topics.py",
        "processing_time_s=elapsed_s)",
        "processing_time_s=1e3 * elapsed_s)",
        "test/ros/test_node_in_process.py",
    ),
    Mutation(
        "pear_ros/ros/diagnostics.py",
        "{1e3 * latency_s:.1f}",
        "{latency_s:.1f}",
        "test/ros/test_diagnostics.py",
    ),
    Mutation(
        "pear_ros/ros/diagnostics.py",
        "if total > self._problems_before:",
        "if total < self._problems_before:",
        "test/ros/test_diagnostics.py",
    ),
    Mutation(
        "pear_ros/ros/stamp_order.py",
        "RESTART_NS = 1_000_000_000",
        "RESTART_NS = 60_000_000_000",
        "test/ros/test_stamp_order.py",
    ),
    Mutation(
        "pear_ros/ros/frame_reader.py",
        "taken_ns * 1e-9",
        "taken_ns * 1e-6",
        "test/ros/test_frame_reader.py",
    ),
    Mutation(
        "pear_ros/ros/visualization.py",
        "cloud_message(people, header)",
        "cloud_message(people, Header())",
        "test/ros/test_visualization.py",
    ),
    Mutation(
        "pear_ros/ros/visualization.py",
        "image_message(drawn, header)",
        "image_message(drawn, Header(frame_id=header.frame_id))",
        "test/ros/test_visualization.py",
    ),
    Mutation(
        "pear_ros/ros/visualization.py",
        "self._is_overlay_due(1 / rate_hz)",
        "self._is_overlay_due(0)",
        "test/ros/test_visualization.py",
    ),
    Mutation(
        "pear_ros/ros/visualization.py",
        "return before - self._shown[output]",
        "return self._shown[output] - before",
        "test/ros/test_visualization.py",
    ),
    Mutation(
        "pear_ros/ros/synchronizer.py",
        "now_s - self._first_image_s >= self._calibration_timeout_s",
        "now_s - self._first_image_s < self._calibration_timeout_s",
        "test/ros/test_synchronizer.py",
    ),
    Mutation(
        "pear_ros/ros/mailbox.py",
        "            if camera in self._items:\n                self._count(camera, 1)\n",
        "",
        "test/ros/test_mailbox.py",
    ),
    Mutation(
        "pear_ros/ros/to_messages.py",
        "q.x, q.y, q.z, q.w = poses",
        "q.w, q.x, q.y, q.z = poses",
        "test/ros/test_to_messages.py",
    ),
    Mutation(
        "pear_ros/ros/to_messages.py",
        "center.x, center.y = (x0 + x1) / 2, (y0 + y1) / 2",
        "center.x, center.y = x0, y0",
        "test/ros/test_to_messages.py",
    ),
    Mutation(
        "pear_ros/ros/from_messages.py",
        "max(info.binning_x, 1), max(info.binning_y, 1)",
        "max(info.binning_y, 1), max(info.binning_x, 1)",
        "test/ros/test_from_messages.py",
    ),
    Mutation(
        "pear_ros/ros/from_messages.py",
        "half_x = (cos * box.size_x + sin * box.size_y) / 2",
        "half_x = (sin * box.size_x + cos * box.size_y) / 2",
        "test/ros/test_from_messages.py",
    ),
    Mutation(
        "pear_ros/ros/markers.py",
        "1.0 if visible else PREDICTED_OPACITY",
        "1.0",
        "test/ros/test_visualization.py",
    ),
    Mutation(
        "pear_ros/ros/schedule.py",
        "self.left_out += missed",
        "self.left_out += bool(missed)",
        "test/ros/test_schedule.py",
    ),
    # --- launch ---
    Mutation(
        "launch/pear.launch.py",
        '("camera_info", value("camera_info"))',
        '("camera_inf", value("camera_info"))',
        "test/test_launch.py test/ros/test_launched_node.py",
    ),
    Mutation(
        "launch/pear.launch.py",
        'value("image") + "/compressed"',
        'value("image")',
        "test/test_launch.py",
    ),
    Mutation(
        "launch/pear.launch.py",
        '"device": "network.device"',
        '"device": "network.dtype"',
        "test/test_launch.py",
    ),
    Mutation(
        "launch/pear.launch.py",
        'executable="pear_node"',
        'executable="pear-node"',
        "test/test_launch.py",
    ),
    Mutation(
        "launch/demo.launch.py",
        '"detections": f"/{CAMERA}/detections"',
        '"detection": f"/{CAMERA}/detections"',
        "test/test_launch.py",
    ),
    Mutation(
        "launch/demo.launch.py",
        'SETTINGS = ("people",',
        'SETTINGS = ("persons",',
        "test/test_launch.py",
    ),
    Mutation(
        "launch/demo.launch.py",
        '{"wait_for_subscriber": True}',
        '{"wait_for_subscribers": True}',
        "test/test_launch.py",
    ),
    # --- placement ---
    Mutation(
        "pear_ros/geometry/transform_tree.py",
        "(1 - weight) * x + weight * y",
        "weight * x + (1 - weight) * y",
        "test/geometry/test_transform_tree.py",
    ),
    Mutation(
        "pear_ros/geometry/transform_tree.py",
        "HISTORY_NS = 10_000_000_000",
        "HISTORY_NS = 1_000_000_000",
        "test/geometry/test_transform_tree.py",
    ),
    Mutation(
        "pear_ros/body/frames.py",
        "half_turned @ turn.T",
        "half_turned @ turn",
        "test/body/test_frames.py",
    ),
    Mutation(
        "pear_ros/body/frames.py",
        "velocity=people.velocity @ turn.T",
        "velocity=people.velocity @ turn",
        "test/body/test_frames.py",
    ),
    Mutation(
        "pear_ros/body/stature.py",
        "_at(self._soles, betas).min(1)",
        "_at(self._soles, betas).max(1)",
        "test/body/test_stature.py",
    ),
    Mutation(
        "pear_ros/images/depth.py",
        "M_A_MILLIMETRE = np.float32(0.001)",
        "M_A_MILLIMETRE = np.float32(0.01)",
        "test/images/test_depth.py",
    ),
    Mutation(
        "pear_ros/ros/depth_matcher.py",
        "abs(nearest - stamp_ns) > self._tolerance_ns",
        "abs(nearest - stamp_ns) > 10 * self._tolerance_ns",
        "test/ros/test_depth_matcher.py",
    ),
    Mutation(
        "pear_ros/placement/ground_plane.py",
        "ratio = (camera_height_m - sole_m) / below_m",
        "ratio = camera_height_m / below_m",
        "test/placement/test_ground_plane.py",
    ),
    Mutation(
        "pear_ros/placement/ground_plane.py",
        "(below_m > LEAST_BELOW_M)",
        "(below_m > 0)",
        "test/placement/test_ground_plane.py",
    ),
    Mutation(
        "pear_ros/placement/uncertainty.py",
        "along_m2 * on_ray + across_m2 *",
        "across_m2 * on_ray + along_m2 *",
        "test/placement/test_uncertainty.py",
    ),
    Mutation(
        "pear_ros/tracking/body_size.py",
        "GATE_SIGMAS = {GROUND: 4.0",
        "GATE_SIGMAS = {GROUND: 40.0",
        "test/tracking/test_body_size.py",
    ),
    Mutation(
        "pear_ros/tracking/body_size.py",
        "variance - gain * shared**2",
        "variance",
        "test/tracking/test_body_size.py",
    ),
    Mutation(
        "pear_ros/tracking/foot_lock.py",
        "other = 1 - np.maximum(held, 0)",
        "other = np.maximum(held, 0)",
        "test/tracking/test_foot_lock.py",
    ),
    Mutation(
        "pear_ros/body/legs.py",
        "pelvis.mT @ turns @ pelvis @",
        "turns @",
        "test/body/test_legs.py",
    ),
    Mutation(
        "pear_ros/tracking/expected_boxes.py",
        "np.where(is_cut, edges * (0, 0, 1, 1), expected_xyxy)",
        "expected_xyxy",
        "test/tracking/test_expected_boxes.py",
    ),
    Mutation(
        "pear_ros/network/engine_file.py",
        "if hash_files(path) != manifest.sha256",
        "if False",
        "test/network/test_openvino_engine.py",
    ),
    Mutation(
        "pear_ros/tracking/motion.py",
        "    mean[:, :3] += translation\n",
        "    mean[:, :3] -= translation\n",
        "test/tracking/test_motion.py",
    ),
    Mutation(
        "pear_ros/tracking/camera_motion.py",
        "FASTEST_M_S = 5.0",
        "FASTEST_M_S = 500.0",
        "test/tracking/test_camera_motion.py",
    ),
    Mutation(
        "pear_ros/estimation/distances.py",
        "np.log(depth_m / distance_m)",
        "np.log(distance_m / depth_m)",
        "test/test_pipeline_depth.py",
    ),
)
